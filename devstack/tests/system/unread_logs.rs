//! The log of a service is not read: standard output is a full pipe from the first line on. The service keeps working;
//! lines are dropped and counted; space is reserved for errors and metrics; and the shutdown is in time.

use std::sync::atomic::{AtomicBool, Ordering};

use devstack::logs::PLANTED;
use devstack::{LogReader, Service};
use reqwest::StatusCode;

use crate::prelude::*;

const DROPPED: &str = r#"log_lines_dropped_total{kind="ordinary"}"#;

/// How long an idle service may take to end: a second for the log, plus slack for a busy machine. Much less than the
/// allowed 25 seconds.
const END: Duration = Duration::from_secs(10);

/// Ends the service while its log is full.
async fn end(service: Service) {
    service.terminate().unwrap();
    let status = blocking(move || service.wait(END));
    assert!(status.await.unwrap().success());
}

fn errors(service: &Service, message: &str) -> Vec<Value> {
    let log = service.log();
    logged(&log, message, "").filter(|line| line["level"] == "ERROR").collect()
}

/// Waits until the service's log thread has reported the dropped lines.
async fn told(system: &System, service: &Service) {
    let says = |line: &str| line.contains("log lines were dropped") && line.contains("ERROR");
    system.until("it says how many lines were dropped", async || service.log().lines().any(says)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_whose_log_nobody_reads_answers_and_ends() {
    let system = System::start_with("unread-api", &[Own::Redis], &[]).await;
    let settings = [("ACCESS_LOG", "all"), ("DRAIN_DELAY", "100ms"), ("DRAIN_TIMEOUT", "5s")];
    let reader = LogReader::stopped();
    let api = system.api_read_by(&reader, &settings);
    system.until("it is ready", async || api.public_ready().await.0 == 200).await;

    // Each request logs a line, so the log is soon full.
    let enough = Arc::new(AtomicBool::new(false));
    let callers = (0..16).map(|_| {
        let (http, url, enough) = (system.http.clone(), api.url("/resource/nobody"), Arc::clone(&enough));
        tokio::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let answer = http.get(&url).header("x-request-id", "x".repeat(128)).send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let dropped = async || api.sample(DROPPED).await > Some(0.0);
    system.until("lines are dropped, and counted", dropped).await;
    enough.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    // There is no space for ordinary lines when an error occurs.
    system.servers.redis().stop().unwrap();
    let down = r#"dependency_up{dependency="Redis"}"#;
    system.until("Redis is down", async || api.metrics().await.contains(&format!("{down} 0"))).await;
    system.servers.redis().start().unwrap();
    system.until("it is up again", async || api.metrics().await.contains(&format!("{down} 1"))).await;
    assert!(errors(&api.service, "down").is_empty(), "nobody reads");
    assert_eq!(api.sample(r#"log_lines_dropped_total{kind="error"}"#).await.unwrap_or_default(), 0.0);
    let event = event("d").id(1).payload(json!({"planted": PLANTED}));
    assert_eq!(system.send_to(&api, &event).await.unwrap().status(), 202);
    assert_eq!(api.live().await, 200);

    reader.read(true);
    told(&system, &api.service).await;
    assert!(api.service.log().contains(r#""message":"listening""#), "the first lines are there");
    let told = errors(&api.service, "down");
    assert!(told.iter().any(|line| line["dependency"] == "Redis"), "errors have their room: {told:?}");
    // Stop reading again, and end the service in this state.
    reader.read(false);
    let nobody = system.http.get(api.url("/resource/nobody"));
    for _ in 0..1_000 {
        assert_eq!(nobody.try_clone().unwrap().send().await.unwrap().status(), 401);
    }
    end(api.running.service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_log_nobody_reads_applies_and_ends() {
    const BATCHES: usize = 20;

    let system = System::start("unread-worker", &[]).await;
    let settings = [("ACCESS_LOG", "all"), ("EMF_NAMESPACE", "DeviceEvents/test"), ("EMF_INTERVAL", "1s")];
    let reader = LogReader::stopped();
    let worker = system.worker_read_by(&reader, &settings);
    let post = async |batch: usize| {
        let event = |n| json!({"device_id": format!("device-{batch}-{n}"), "payload": {"planted": PLANTED}});
        let events: Vec<_> = (0..1_000).map(event).collect();
        let post = system.api.post("/events/batch", &system.token, json!(events).to_string());
        assert_eq!(post.send().await.unwrap().status(), 202);
    };
    for batch in 0..BATCHES {
        post(batch).await;
    }
    let dropped = async || worker.sample(DROPPED).await > Some(0.0);
    system.until("lines are dropped, and counted", dropped).await;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    system.until("every event has its row", async || system.rows().await == BATCHES * 1_000).await;
    assert_eq!(worker.sample(r#"log_lines_dropped_total{kind="metrics"}"#).await.unwrap_or_default(), 0.0);
    assert_eq!((worker.status().await.as_str(), worker.live().await), ("ready", 200));

    // An error occurs meanwhile.
    const OUTAGE: &str = "an outage: the partition waits";
    system.sql("ALTER TABLE events RENAME TO events_elsewhere").await;
    assert_eq!(system.post("late", "1", &json!({})).await.unwrap().status(), 202);
    system.until("it waits out an outage", async || worker.status().await == "waiting out an outage").await;
    system.sql("ALTER TABLE events_elsewhere RENAME TO events").await;
    system.until("the outage is over", async || system.rows().await == BATCHES * 1_000 + 1).await;
    assert!(errors(&worker.service, OUTAGE).is_empty(), "nobody reads");

    // Metric documents are still written, though there is no space for other lines. They are due at fixed times.
    let passed = Instant::now();
    system.until("some more documents are due", async || passed.elapsed() > Duration::from_secs(5)).await;
    reader.read(true);
    told(&system, &worker.service).await;
    assert!(!errors(&worker.service, OUTAGE).is_empty(), "errors have their room");
    let log = worker.service.log();
    let documents = log.lines().filter(|line| line.starts_with('{') && line.contains(r#""_aws""#));
    let times = documents.map(|line| serde_json::from_str::<Value>(line).unwrap()["_aws"]["Timestamp"].as_u64());
    let later = times.flatten().filter(|time| u128::from(*time) > since).count();
    assert!(later > 0, "metrics have their room");

    reader.read(false);
    post(BATCHES).await;
    system.until("they have their rows too", async || system.rows().await == (BATCHES + 1) * 1_000 + 1).await;
    end(worker.service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kafka_client_logs_goes_the_same_way_and_so_does_a_command_s() {
    let system = System::start("unread-kafka", &[]).await;
    let reader = LogReader::stopped();
    // The Kafka client keeps logging that no broker is reachable, and all crates log at trace level.
    let nobody = format!("127.0.0.1:{}", devstack::port::free());
    let settings = [("KAFKA_BROKERS", nobody.as_str()), ("RUST_LOG", "trace"), ("DRAIN_DELAY", "100ms")];
    let (api, worker) = (system.api_read_by(&reader, &settings), system.worker_read_by(&reader, &settings));
    let live = async || api.live().await == 200;
    system.until("the API lives", live).await;
    system.until("the worker says that Kafka is away", async || worker.status().await == "waiting out an outage").await;
    assert_eq!(worker.live().await, 200);
    let setup = system.command_read_by(&reader, &["setup"]);
    assert!(blocking(move || setup.wait(TEST_TIMEOUT)).await.unwrap().success());
    let logs = [api.service.log(), worker.service.log()];
    assert!(logs.iter().all(|log| log.trim().is_empty()), "nobody reads");

    reader.read(true);
    let says = |service: &Service| service.log().contains("Connection refused");
    system.until("they said why", async || says(&api.service) && says(&worker.service)).await;
    reader.read(false);
    end(api.running.service).await;
    end(worker.service).await;
}
