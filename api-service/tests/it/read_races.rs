//! Readers that are stopped after PostgreSQL has answered, while the resource is written, and while Redis loses its
//! data.

use std::sync::Arc;

use devstack::{Proxy, Redis};
use shared::cache::{Cache, Fencer, Lookup};
use shared::devices::{DeviceDelivery, Event, EventType, RESOURCE};
use shared::kafka::position::Position;
use shared::runtime::json::Payload;
use shared::store::Store;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::app::redis_at;
use crate::prelude::*;
use crate::read::{Held, cached, reading, source, tagged};

/// An API that reaches PostgreSQL through a proxy, and a worker that reaches it directly.
struct Race {
    app: Arc<TestApp>,
    postgres: Proxy,
    pool: PgPool,
    store: Store,
    cache: Cache,
}

impl Race {
    async fn new(name: &str, settings: &[&str]) -> Self {
        let scope = scope(name).await;
        let plain = config(&scope, settings);
        let (postgres, behind) = Proxy::before(&scope.database_url).unwrap();
        let pool = PgPool::connect(&scope.database_url).await.unwrap();
        let behind = format!("--database-url={behind}");
        // Timeouts long enough for a stopped reader; with one connection the order of its queries is known.
        let own = [&*behind, "--database-timeout=60s", "--database-max-connections=1", "--request-timeout=90s"];
        let app = Arc::new(TestApp::on(scope, &[settings, &own].concat()).await);
        let store = Store::open(&plain.backbone.postgres, "worker").unwrap();
        let cache = Cache::open(&plain.backbone.redis, &[&RESOURCE]).unwrap();
        Self { app, postgres, pool, store, cache }
    }

    /// Writes the device's next event, and its fence.
    async fn write(&self, device: &str, n: i64) {
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000 + n).unwrap();
        let payload = format!(r#"{{"n":{n},"filler":"{}"}}"#, "x".repeat(1_000));
        let payload = Payload::check(payload.into(), "").unwrap();
        let event = Event { device_id: device.parse().unwrap(), event_type: EventType::DeviceReported, payload };
        let envelope = event.envelope(n.to_string().parse().unwrap(), at);
        let (topic, partition, redriven, create_time) = ("t".into(), 0, false, false);
        let position = Position { topic, partition, offset: n, appended_at: at, redriven, create_time };
        let event = DeviceDelivery { envelope, position, event };
        let applied = queries::apply_batch(&self.store, &[&event]).await.unwrap();
        let fenced = Fencer::new(self.cache.clone(), self.store.clone()).fence(&applied.fences).await;
        assert!(fenced.is_acknowledged());
    }

    fn read(&self, device: &'static str) -> JoinHandle<Response> {
        reading(&self.app, device)
    }

    /// A reader whose answer PostgreSQL has sent, but which has not received it.
    async fn with_its_answer_in_hand(&self, device: &'static str) -> JoinHandle<Response> {
        // This prepares the statement, so that only its execution waits for the lock.
        assert_eq!(self.app.get("warm").await.status(), 404);
        let held = Held::hold(&self.app.scope).await;
        let reading = self.read(device);
        held.until_one_waits().await;
        self.postgres.hold_answers();
        held.release().await;
        let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                      AND application_name = 'api-service' AND state = 'active'";
        until("PostgreSQL has answered", async || {
            sqlx::query_scalar::<_, i64>(active).fetch_one(&self.pool).await.unwrap() == 0
        })
        .await;
        reading
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_write_is_not_filled_after_its_fence_nor_joined() {
    let race = Race::new("race_fence", &[]).await;
    let d: DeviceId = "d".parse().unwrap();
    race.write("d", 1).await;
    let first = race.with_its_answer_in_hand("d").await;
    let Lookup::Leased(before) = race.cache.get(&d.cache_key()).await else { panic!("no lease") };
    race.write("d", 2).await;
    assert_eq!(race.cache.get(&d.cache_key()).await, Lookup::Miss, "the fence ended the lease");
    // This read starts after the fence: it takes its own lease, and joins no older read.
    let second = race.read("d");
    until(
        "a lease of its own",
        async || matches!(race.cache.get(&d.cache_key()).await, Lookup::Leased(lease) if lease != before),
    )
    .await;
    race.postgres.mend();
    let first = first.await.unwrap();
    assert_eq!((tagged(&first), source(&first)), (1, "resource-cache; fwd=miss"));
    let second = second.await.unwrap();
    assert_eq!((second.status().as_u16(), tagged(&second)), (200, 2));
    // Stored or not: the first read, which could not fill, may have ended the lease.
    assert!(source(&second).starts_with("resource-cache; fwd=miss"), "{}", source(&second));
    assert_eq!(tagged(&race.app.get("d").await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_empty_takes_no_fill_of_before() {
    let redis = blocking(|| Redis::start(&[])).await.unwrap();
    let race = Race::new("race_restart", &[&format!("--redis-url={}", redis.url())]).await;
    let d: DeviceId = "d".parse().unwrap();
    race.write("d", 1).await;
    let reading = race.with_its_answer_in_hand("d").await;
    redis.kill().unwrap();
    redis.start().unwrap();
    until("Redis is there again", async || race.cache.get(&d.cache_key()).await == Lookup::Miss).await;
    let other: DeviceId = "other".parse().unwrap();
    let lease = race.cache.lease(&other.cache_key()).await.unwrap();
    assert!(race.cache.fill(&other.cache_key(), &lease, Some(r#"{"version":1,"id":"other"}"#)).await);
    // Until the API has reconnected to Redis, it asks PostgreSQL, in vain.
    until("for the API too", async || race.app.get("other").await.status() == 200).await;
    // Redis has no entry for the fence to delete, but the lease is gone as well.
    race.write("d", 2).await;
    race.postgres.mend();
    let response = reading.await.unwrap();
    assert_eq!(tagged(&response), 1, "it began before the write");
    assert_eq!(source(&response), "resource-cache; fwd=miss");
    assert_eq!(cached(&race.app, &d).await, None);
    let next = race.app.get("d").await;
    assert_eq!((tagged(&next), source(&next)), (2, "resource-cache; fwd=miss; stored"));
}

/// Bodies of a kilobyte, and memory for a few dozen of them: many of the 150 devices are evicted, and their leases,
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn eviction_makes_no_read_wrong() {
    let redis = blocking(|| Redis::start(&["--maxmemory-policy", "allkeys-lru"])).await.unwrap();
    let race = Race::new("race_evict", &[&format!("--redis-url={}", redis.url())]).await;
    let mut connection = redis_at(&redis.url()).await;
    let memory = |info: &str, name: &str| -> u64 {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok()).unwrap()
    };
    // The memory of scripts and connections comes first, so that the limit covers only bodies.
    race.write("warm", 1).await;
    until("the API has connected", async || source(&race.app.get("warm").await).ends_with("hit")).await;
    race.write("warm", 2).await;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await.unwrap();
    let limit = memory(&info, "used_memory") + 100 * 1024;
    let () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).query_async(&mut connection).await.unwrap();
    let devices: Vec<String> = (0..150).map(|n| format!("d{n}")).collect();
    for n in 1..=2 {
        for (number, device) in devices.iter().enumerate() {
            race.write(device, n).await;
            // This device, which was just written, and an older one, which may have been evicted.
            for (device, versions) in [(device, n..=n), (&devices[(number * 7) % devices.len()], n - 1..=n)] {
                let response = race.app.get(device).await;
                let found: i64 = match response.status().as_u16() {
                    404 => 0,
                    _ => tagged(&response),
                };
                assert!(versions.contains(&found), "{device}: {found}, not {versions:?}");
            }
        }
    }
    let info: String = redis::cmd("INFO").arg("stats").query_async(&mut connection).await.unwrap();
    assert!(memory(&info, "evicted_keys") > 50, "{info}");
    assert!(memory(&info, "keyspace_hits") > 50, "{info}");
}
