//! `erase`: the device is erased, and its records do not bring it back.

use shared::cache::{Cache, Fencer, Lookup};
use shared::devices::{DeviceId, RESOURCE};

use crate::prelude::*;

/// Fills the cache as a reader does. Repeats that if the fence of the last event, which follows its row, came in
/// between.
pub(crate) async fn fill(kit: &Kit, cache: &Cache, device: &DeviceId) {
    let filled = async || {
        let Some(lease) = cache.lease(&device.cache_key()).await else { return false };
        let found = queries::resource(&kit.store, device).await.unwrap().unwrap();
        cache.fill(&device.cache_key(), &lease, Some(&found.body)).await
    };
    until("it is cached", filled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_device_stays_erased_and_may_begin_anew() {
    let kit = Kit::new("erase", 1).await;
    let began = OffsetDateTime::now_utc() - time::Duration::minutes(1);
    let worker = kit.worker();
    for n in 1..=7 {
        kit.event("a", &n.to_string(), r#"{"private":true}"#).await;
        kit.event("b", &n.to_string(), "{}").await;
    }
    // A dead letter of the device, which stays.
    kit.letter("a", "dead", 3, &[]).await;
    kit.until("SELECT count(*) FROM events", 14).await;
    let cache = Cache::open(&run_config(&kit.scope).stores.redis, &[&RESOURCE]).unwrap();
    let device = "a".parse().unwrap();
    fill(&kit, &cache, &device).await;

    let away = format!("--redis-url=redis://{}", nobody());
    let refused = kit.erase("a", &[&away]).await.unwrap_err().to_string();
    assert_eq!(refused, "nothing was erased: Redis does not answer");
    let away = format!("--kafka-brokers={}", nobody());
    let refused = kit.erase("a", &[&away]).await.unwrap_err().to_string();
    assert_eq!(refused, "nothing was erased: cannot read the topic's end from Kafka");
    assert_eq!(kit.version("a").await, Some(7));
    let said = kit.erase("a", &[]).await.unwrap();
    assert!(said.starts_with("erased a: 7 events, version 7; "), "{said}");
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE device_id = 'a'").await, 0);
    assert_eq!(kit.version("a").await, None);
    assert_eq!(cache.get(&device.cache_key()).await, Lookup::Miss);
    assert_eq!(kit.version("b").await, Some(7), "nobody else is touched");
    let said = kit.erase("never", &[]).await.unwrap();
    assert!(said.starts_with("erased never: 0 events, no resource; "), "{said}");

    // All events once more, from the topic and from the dead-letter topic.
    worker.stop().await.unwrap();
    kit.seek(began, &[]).await.unwrap();
    let (redriven, _) = kit.redrive(&[]).await.unwrap();
    assert_eq!(redriven.sent, 1);
    let worker = kit.worker();
    kit.apply("b", "end", "{}").await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE device_id = 'a'").await, 0);
    assert_eq!((kit.version("a").await, kit.version("b").await), (None, Some(8)));

    // New events: one with an event id from before the erasure, and one of a device that had none.
    kit.apply("a", "1", r#"{"new":1}"#).await;
    kit.apply("never", "1", "{}").await;
    assert_eq!(kit.version("a").await, Some(1));
    // A stale body from a worker that read it before, then a fence with the old version.
    let mut redis = kit.redis().await;
    let () = redis.set_ex(kit.key("a"), r#"{"version":0}"#, 60).await.unwrap();
    Fencer::new(cache.clone(), kit.store.clone()).fence(&[(device.clone().cache_key(), 7)]).await;
    assert_eq!(cache.get(&device.cache_key()).await, Lookup::Miss);
    fill(&kit, &cache, &device).await;
    kit.apply("a", "2", r#"{"new":2}"#).await;
    worker.stop().await.unwrap();
    match cache.get(&device.cache_key()).await {
        Lookup::Miss => {}
        Lookup::Hit(body) => assert!(body.starts_with(b"{\"version\":2,"), "nothing older than the fence"),
        other => panic!("{other:?}"),
    }
}
