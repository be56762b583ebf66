//! Outages of each server: no event is lost, and none becomes a dead letter because of an outage.

use crate::kit::refusals;
use crate::prelude::*;

/// How long PostgreSQL is away: longer than every deadline, session and backoff of either service.
const OUTAGE: Duration = Duration::from_secs(30);

/// How long a cache hit may be stale after Redis has come back empty, on a busy machine.
const A_SECOND_OR_SO: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_without_postgresql_costs_no_event_and_no_dead_letter() {
    // Longer than the outage: bodies cached before it stay readable throughout, even on a busy machine.
    let settings = [("CACHE_TTL", "10min"), ("REDIS_TIMEOUT", "5s")];
    let system = System::start_with("postgres", &[Own::Postgres], &settings).await;
    let worker = system.worker();
    assert_eq!(system.post("cached", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    system.until("it is cached", async || system.read("cached").await == (1.into(), true)).await;
    let load = system.load(6);
    tokio::time::sleep(Duration::from_secs(2)).await;

    system.servers.postgres().stop().unwrap();
    let stopped = Instant::now();
    system.until("the worker says so", async || worker.status().await == "waiting out an outage").await;
    while stopped.elapsed() < OUTAGE {
        let response = system.get("cached").await.unwrap();
        assert_eq!(response.status(), 200, "reads that hit are served: {:?}", response.headers());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let miss = system.get("never-read").await.unwrap();
    assert_eq!(miss.status(), 503);
    assert!(miss.headers().contains_key("retry-after"));
    assert_eq!(miss.json::<Value>().await.unwrap()["code"], "store_unavailable");
    assert_eq!(worker.status().await, "waiting out an outage");
    assert_eq!(system.api.public_ready().await.0, 200, "it takes events, and serves what is cached");

    system.servers.postgres().start().unwrap();
    system.until("the worker is well again", async || worker.status().await == "ready").await;
    let mut sent = load.end().await;
    assert_eq!(refusals(&sent), 0, "every post was answered 202");
    sent.push(Sent { device: "cached".into(), accepted: 1, refused: Default::default() });
    system.settle(&sent).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_reads_come_from_postgresql_and_ingest_does_not_notice() {
    let system = System::start_with("redis", &[Own::Redis], &[]).await;
    let worker = system.worker();
    let load = system.load(6);
    system.until("there is something", async || system.get("device-0").await.unwrap().status() == 200).await;

    system.servers.redis().stop().unwrap();
    let mut last = 0;
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(5) {
        let version = system.read("device-0").await.0.as_i64().expect("it is served");
        assert!(version >= last, "what comes from PostgreSQL never goes back");
        last = version;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(worker.status().await, "ready");
    system.servers.redis().start().unwrap();
    // Redis is empty. The API may reconnect before the worker does, and cache an outdated body before the fence comes.
    let (back, mut written) = (Instant::now(), Vec::new());
    while back.elapsed() < Duration::from_secs(10) {
        written.push((Instant::now(), system.count("SELECT version FROM resources WHERE id = 'device-0'").await));
        let version = system.read("device-0").await.0.as_u64().expect("it is served");
        let before = written.iter().filter(|(at, _)| at.elapsed() > A_SECOND_OR_SO).map(|(_, version)| *version).max();
        assert!(before.is_none_or(|before| version >= before as u64), "{version} is behind {before:?} for long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    system.until("the cache is used again", async || system.read("device-0").await.1).await;
    let sent = load.end().await;
    assert_eq!(refusals(&sent), 0);
    system.settle(&sent).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_no_post_is_accepted_and_it_recovers_by_itself() {
    let settings = [("KAFKA_MESSAGE_TIMEOUT", "3s"), ("REQUEST_TIMEOUT", "6s")];
    let system = System::start_with("kafka", &[Own::Kafka], &settings).await;
    let worker = system.worker();
    let load = system.load(6);
    system.until("there is something", async || system.get("device-0").await.unwrap().status() == 200).await;
    // Six partitions of each group.
    let all = Some(6.0 * worker.health().await["groups"].as_object().expect("its groups").len() as f64);

    system.servers.kafka().stop().unwrap();
    for _ in 0..3 {
        let asked = Instant::now();
        let response = system.post("nobody", "1", &json!({})).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(6), "within the deadline: {:?}", asked.elapsed());
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        let problem: Value = response.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["event_id"]), (&json!("outcome_unknown"), &json!("1")));
    }
    assert_eq!(system.get("device-0").await.unwrap().status(), 200, "reads go on");
    // Wait past the session timeout, after which the worker has no partition that could report anything.
    let without = async || devstack::kit::group_of_devices(&worker.health().await)["partitions"] == json!({});
    system.until("its partitions are lost", without).await;
    system.until("the worker says so", async || worker.status().await == "waiting out an outage").await;
    worker.tells("Kafka is frozen, or cut off").await;
    assert_eq!(worker.live().await, 200, "it lives all the same");
    system.servers.kafka().start().unwrap();
    worker.tells_end_of("Kafka is frozen, or cut off").await;
    let whole = async || {
        let of = async |metric| worker.sample(metric).await;
        (of("assigned_partitions").await, of("worker_waiting").await) == (all, Some(0.0))
    };
    system.until("and has all partitions of its groups again", whole).await;
    let accepted = async || system.post("somebody", "1", &json!({"n": 1})).await.unwrap().status() == 202;
    system.until("posts are accepted again", accepted).await;
    let mut sent = load.end().await;
    assert!(refusals(&sent) > 0, "the devices noticed");
    sent.push(Sent { device: "somebody".into(), accepted: 1, refused: Default::default() });
    // A refused event may have been written after all: this is the meaning of `outcome_unknown`.
    let nobody = system.count("SELECT count(*) FROM events WHERE device_id = 'nobody'").await;
    assert!(nobody <= 1, "one event, however often it was tried");
    system.sql("DELETE FROM events WHERE device_id = 'nobody'").await;
    system.settle(&sent).await;
    worker.end().await;
}
