//! Erasing a device: none of its old data comes back, whatever happens concurrently.

use redis::aio::MultiplexedConnection;
use shared::cache::RedisConfig;
use shared::devices::DeviceDelivery;
use time::OffsetDateTime;

use crate::prelude::*;

/// Changes an event to one after the erasure.
fn new(mut decoded: DeviceDelivery) -> DeviceDelivery {
    // Whole seconds, so that it is not more precise than a broker's time.
    let later = OffsetDateTime::now_utc().unix_timestamp() + 60;
    decoded.envelope.accepted_at = OffsetDateTime::from_unix_timestamp(later).unwrap();
    decoded.position.appended_at = decoded.envelope.accepted_at;
    decoded
}

async fn rows(kit: &Kit, device: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM events WHERE device_id = $1) + (SELECT count(*) FROM resources WHERE id = $1)",
    )
    .bind(device)
    .fetch_one(&kit.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn what_was_before_has_no_effect_and_what_comes_after_is_a_new_life() {
    let kit = Kit::new("life").await;
    let d = id("d");
    let old: Vec<_> = (0..3).map(|n| event("d", &n.to_string(), "{}", at(0, n))).collect();
    kit.apply(&old).await;
    let gone = queries::erase(&kit.store, &d, None).await.unwrap();
    assert_eq!((gone.events, gone.version), (3, Some(3)));
    let again = kit.apply(&old).await;
    assert_eq!((count(&again, Outcome::Forgotten), again.fences.len()), (3, 0));
    assert_eq!(rows(&kit, "d").await, 0);

    // One batch with an old event, followed by the device's new event with the same id.
    let again = new(event("d", "0", r#"{"new":true}"#, at(0, 9)));
    let other = event("e", "0", "{}", at(0, 8));
    let applied = kit.apply([&old[0], &other, &again]).await;
    assert_eq!([Outcome::Forgotten, Outcome::Applied].map(|outcome| count(&applied, outcome)), [1, 2]);
    assert!(applied.fences.contains(&(d.clone().cache_key(), 1)));
    assert!(queries::resource(&kit.store, &d).await.unwrap().unwrap().body.contains(r#"{"new": true}"#));

    // Accepted before the erasure and appended after it, or the other way round: both are old.
    let mut half = new(event("d", "x", "{}", at(0, 10)));
    half.envelope.accepted_at = gone.at;
    assert_eq!(count(&kit.apply([&half]).await, Outcome::Forgotten), 1);
    let mut half = new(event("d", "x", "{}", at(0, 10)));
    half.position.appended_at = gone.at;
    assert_eq!(count(&kit.apply([&half]).await, Outcome::Forgotten), 1);

    // A broker with a fast clock: the tombstone covers its records by their own times.
    let gone = queries::erase(&kit.store, &d, None).await.unwrap();
    assert_eq!((gone.events, gone.version), (1, Some(1)));
    assert_eq!(gone.at.unix_timestamp(), again.position.appended_at.unix_timestamp());
    assert_eq!(count(&kit.apply([&again]).await, Outcome::Forgotten), 1);
}

/// Waits until a statement that begins so waits for a lock.
async fn until_waiting(kit: &Kit, statement: &str) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ ('^\\s*' || $1)";
    eventually("it waits for a lock", async || {
        sqlx::query_scalar::<_, i64>(WAITING).bind(statement).fetch_one(&kit.pool).await.unwrap() > 0
    })
    .await;
}

const HAND: [&str; 2] = [
    r#"INSERT INTO events SELECT 'd', event_id, type, payload, user_id, request_id, accepted_at, occurred_at, topic,
       partition, "offset", appended_at, outcome FROM events WHERE device_id = 'other'"#,
    r#"INSERT INTO resources SELECT 'd', payload, version, event_id, accepted_at, updated_at, topic, partition,
       "offset", appended_at FROM resources WHERE id = 'other'"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_in_hand_is_waited_for_and_erased() {
    for (name, is_first) in [("hand", true), ("hand_again", false)] {
        let kit = Kit::new(name).await;
        kit.write("other", 1).await;
        // A worker that has written rows of the device's first event, or of a later one, and not committed them.
        let mut hand = kit.pool.begin().await.unwrap();
        if is_first {
            for sql in HAND {
                sqlx::query(sql).execute(&mut *hand).await.unwrap();
            }
        } else {
            kit.write("d", 0).await;
            sqlx::query(HAND[0]).execute(&mut *hand).await.unwrap();
            sqlx::query("UPDATE resources SET version = 2 WHERE id = 'd'").execute(&mut *hand).await.unwrap();
        }
        // Another device is erased meanwhile.
        assert_eq!(queries::erase(&kit.store, &id("nobody"), None).await.unwrap().version, None);
        let store = kit.store.clone();
        let erased = tokio::spawn(async move { queries::erase(&store, &id("d"), None).await.unwrap() });
        until_waiting(&kit, "INSERT INTO resources AS r").await;
        hand.commit().await.unwrap();
        let erased = erased.await.unwrap();
        assert_eq!((rows(&kit, "d").await, rows(&kit, "other").await), (0, 2));
        assert_eq!(erased.events, erased.version.unwrap());
    }
}

/// A worker has begun to apply a batch when one of its devices is erased: it waits until the erasure has ended, because
/// another transaction has rows of the device before.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_began_before_the_erasure_brings_nothing_back() {
    const OTHER: &str = r#"
        INSERT INTO events (device_id, event_id, type, payload, accepted_at, occurred_at, topic, partition, "offset",
                            appended_at, outcome)
          VALUES ('c', 'x', '', '{}', now(), now(), 't', 0, 4, now(), 'applied');
        INSERT INTO resources VALUES ('c', '{}', 1, 'x', now(), now(), 't', 0, 4, now())"#;
    let [first, second] = [event("c", "x", "{}", at(0, 4)), event("d", "old", "{}", at(0, 5))];
    // In order, and not.
    for (order, batch) in [("", [first.clone(), second.clone()]), ("_mixed", [second, first])] {
        // The state before: none, an older one, a newer one, which makes the event a late one.
        for (name, before) in [("began_new", None), ("began", Some(at(0, 1))), ("began_late", Some(at(1, 50)))] {
            let kit = Kit::new(&format!("{name}{order}")).await;
            if let Some(position) = &before {
                kit.apply([&event("d", "before", "{}", position.clone())]).await;
            }
            let mut other = kit.pool.begin().await.unwrap();
            sqlx::raw_sql(OTHER).execute(&mut *other).await.unwrap();
            let (store, given) = (kit.store.clone(), batch.clone());
            let applied = async move { queries::apply_batch(&store, &given.iter().collect::<Vec<_>>()).await };
            let applied = tokio::spawn(applied);
            until_waiting(&kit, "WITH").await;
            let erased = queries::erase(&kit.store, &id("d"), None).await.unwrap();
            assert_eq!(erased.version, before.map(|_| 1), "it waits for nobody");
            other.rollback().await.unwrap();

            let applied = match applied.await.unwrap() {
                Ok(applied) => applied,
                Err(error) => {
                    assert_eq!((error.class, order), (Class::Again, "_mixed"), "{name}: {error}");
                    assert_eq!((rows(&kit, "d").await, rows(&kit, "c").await), (0, 0), "{name}");
                    kit.apply(&batch).await
                }
            };
            let outcomes = [Outcome::Forgotten, Outcome::Applied].map(|outcome| count(&applied, outcome));
            assert_eq!(outcomes, [1, 1], "{name}{order}");
            assert_eq!((rows(&kit, "d").await, rows(&kit, "c").await), (0, 2), "{name}{order}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_under_load_bring_nothing_back() {
    let kit = Kit::new("load").await;
    // On a busy machine a statement may time out; a worker retries after that too.
    let workers = workers(&kit.store, (60, 10, 2), &[Class::Again, Class::Outage, Class::OutageMet]);
    for device in 0..10 {
        queries::erase(&kit.store, &format!("d{device}").parse().unwrap(), None).await.unwrap();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    for device in 0..10 {
        assert_eq!(rows(&kit, &format!("d{device}")).await, 0);
    }
}

#[tokio::test]
async fn a_fence_that_was_on_its_way_does_not_put_the_old_body_back() {
    let kit = Kit::new("mark").await;
    old_body_stays_away(&kit, &id("a"), kit.redis().await).await;
}

/// `redis` is a connection to the server that has the device's key.
pub(crate) async fn old_body_stays_away(kit: &Kit, device: &DeviceId, mut redis: MultiplexedConnection) {
    let (cache, key, name) = (&kit.cache, device.cache_key(), kit.key(device.as_str()));
    // The worker reads this row for its fence, as it was before the erasure.
    kit.apply(&[1, 2].map(|n| event(device.as_str(), &n.to_string(), "{}", at(0, n)))).await;
    let deleted = FenceOutcome::Deleted;
    for (cached, outcome) in
        [(MISSING, deleted), ("lease:of-a-reader", FenceOutcome::LeaseDeleted), (r#"{"version":1,"id":"a"}"#, deleted)]
    {
        let () = redis.set_ex(&name, r#"{"version":7,"old":true}"#, 60).await.unwrap();
        cache.erase(&key).await.unwrap();
        assert_eq!(cache.get(&key).await, Lookup::Miss);
        let () = redis.set_ex(&name, cached, 60).await.unwrap();
        assert_eq!(kit.fencer().fence(&[(key.clone(), 2)]).await.outcomes, [outcome], "over {cached}");
        assert_eq!(cache.get(&key).await, Lookup::Miss, "over {cached}");
    }
}

#[tokio::test]
async fn clearing_takes_this_prefix_and_no_other() {
    let kit = Kit::new("clear").await;
    let mut redis = kit.redis().await;
    for n in 0..2_500 {
        let () = redis.set_ex(kit.key(&n.to_string()), "x", 60).await.unwrap();
    }
    let other = format!("other-{}", kit.key("a"));
    let () = redis.set_ex(&other, "x", 60).await.unwrap();
    assert_eq!(kit.cache.clear().await.unwrap(), 2_500);
    assert_eq!(kit.cache.clear().await.unwrap(), 0);
    let left: Option<String> = redis.get(&other).await.unwrap();
    assert_eq!(left.as_deref(), Some("x"));
}

#[tokio::test]
async fn without_a_prefix_clearing_takes_what_is_cached_and_never_everything() {
    let kit = Kit::new("clear_all").await;
    let own = start(&[]).await;
    let config = RedisConfig { key_prefix: Some(String::new()), ..kit.redis_config(&own.url()) };
    let cache = Cache::open(&config, &[&RESOURCE]).unwrap();
    let mut redis = connection(&own).await;
    for key in ["resource:a", "resource:b", "resource", "other", "other:resource:a"] {
        let () = redis.set(key, "x").await.unwrap();
    }
    assert_eq!(cache.clear().await.unwrap(), 2);
    let mut left: Vec<String> = redis.keys("*").await.unwrap();
    left.sort();
    assert_eq!(left, ["other", "other:resource:a", "resource"]);
}
