//! The effect of an event: one row, one version, and a fenced cache.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_has_exactly_one_effect_and_repeats_change_nothing() {
    let (kit, worker) = Kit::with_worker("effects", 3).await;
    for round in 0..2 {
        join_all(["a", "b", "c"].map(|device| kit.events(device, 1..=50))).await;
        if round == 0 {
            kit.until("SELECT count(*) FROM events", 150).await;
        }
    }
    // The last event of each device is behind every repeat in its partition.
    join_all(["a", "b", "c"].map(|device| kit.event(device, "end", r#"{"n":"end"}"#))).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = 'end'", 3).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 153);
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome = 'applied'").await, 153);
    let last = r#"SELECT count(*) FROM resources WHERE version = 51 AND payload = '{"n":"end"}'"#;
    assert_eq!(kit.count(last).await, 3);
    worker.stop().await.unwrap();
    let committed: i64 = kit.committed().await.values().sum();
    assert_eq!(committed, 303, "everything is committed on the way out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_fences_the_cache_before_its_offset_is_committed() {
    let (kit, worker) = Kit::with_worker("fences", 1).await;
    kit.apply("a", "1", r#"{"n":1}"#).await;
    let mut redis = kit.redis().await;
    let () = redis.set_ex(kit.key("a"), r#"{"version":1,"stale":true}"#, 60).await.unwrap();
    let () = redis.set_ex(kit.key("b"), "lease:of-a-reader", 60).await.unwrap();
    kit.event("b", "1", r#"{"n":1}"#).await;
    kit.apply("a", "2", r#"{"n":2}"#).await;
    worker.stop().await.unwrap();
    let body: String = redis.get(kit.key("a")).await.unwrap();
    let rendered = queries::resource(&kit.store, &"a".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(body, rendered.body, "the cached body is the row's");
    assert_eq!(rendered.version, 2);
    let ttl: i64 = redis.ttl(kit.key("a")).await.unwrap();
    assert!((1..=60).contains(&ttl), "the TTL is kept: {ttl}");
    let lease: Option<String> = redis.get(kit.key("b")).await.unwrap();
    assert_eq!(lease, None, "a lease does not survive a fence");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_cloud_event_of_another_producer_is_understood() {
    let (kit, worker) = Kit::with_worker("structured", 1).await;
    let event = br#"{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/other","id":"s-1",
        "subject":"a","time":"2026-01-02T03:04:05Z","data":{"n":1}}"#;
    kit.put(Some(b"a"), Some(event), &[("content-type", Some(b"application/cloudevents+json"))]).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = 's-1' AND occurred_at = '2026-01-02T03:04:05Z'", 1).await;
    assert_eq!(kit.version("a").await, Some(1));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_decides_and_not_the_clocks_of_those_who_accepted() {
    let kit = Kit::new("clocks", 1).await;
    // Two API instances whose clocks are an hour apart alternately accept one device's events; all events, and one
    // repeat, come in one batch.
    for n in 1..=6 {
        let accepted_at = if n % 2 == 0 { "2026-01-01T12:00:00Z" } else { "2026-01-01T13:00:00Z" };
        let (id, payload) = (n.to_string(), format!(r#"{{"n":{n}}}"#));
        kit.event_with("a", &id, &payload, &[("ce_acceptedat", accepted_at)]).await;
    }
    kit.event_with("a", "1", r#"{"n":1}"#, &[("ce_acceptedat", "2026-01-01T14:00:00Z")]).await;
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", 6).await;
    worker.stop().await.unwrap();
    assert_eq!((kit.version("a").await, kit.committed().await[&0]), (Some(6), 7));
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":6}'"#).await, 1);
}
