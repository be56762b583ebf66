//! A separate database and key prefix for each test.

use bytes::Bytes;
use clap::Parser;
use devstack::Scope;
use devstack::kit::{TEST_TIMEOUT, scope};

use crate::prelude::*;
pub(crate) use devstack::kit::until as eventually;
use redis::AsyncCommands as _;
use shared::cache::{Cache, CacheKey, RedisConfig};
use shared::devices::queries::{self, Applied, Outcome};
use shared::devices::{DeviceDelivery, DeviceId, Event, EventType, RESOURCE};
use shared::kafka::Envelope;
use shared::kafka::position::Position;
use shared::runtime::json::Payload;
use shared::store::{Failure, PostgresConfig, Store};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

#[derive(Debug, Parser)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) postgres: PostgresConfig,
    #[command(flatten)]
    pub(crate) redis: RedisConfig,
}

pub(crate) struct Kit {
    pub(crate) scope: Scope,
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
}

impl Kit {
    pub(crate) async fn new(name: &str) -> Self {
        let kit = Self::without_schema(name).await;
        kit.store.migrate(&[queries::INDEXES]).await.unwrap();
        kit
    }

    pub(crate) async fn without_schema(name: &str) -> Self {
        let scope = scope(name).await;
        let settings = settings(&scope.database_url, &scope.endpoints.redis_url, &scope.cache_prefix);
        let store = Store::open(&settings.postgres, "test").unwrap();
        let cache = Cache::open(&settings.redis, &[&RESOURCE]).unwrap();
        let pool = PgPool::connect(&scope.database_url).await.unwrap();
        Self { scope, pool, store, cache }
    }

    /// Opens the store again after it was closed.
    pub(crate) fn reopened(&self) -> Store {
        Store::open(&postgres(&self.scope.database_url), "test").unwrap()
    }

    /// The settings of a cache at `url`, with the test's prefix.
    pub(crate) fn redis_config(&self, url: &str) -> RedisConfig {
        settings(&self.scope.database_url, url, &self.scope.cache_prefix).redis
    }

    pub(crate) fn cache_at(&self, url: &str) -> Cache {
        Cache::open(&self.redis_config(url), &[&RESOURCE]).unwrap()
    }

    pub(crate) fn fencer(&self) -> Fencer {
        Fencer::new(self.cache.clone(), self.store.clone())
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        redis_at(&self.scope.endpoints.redis_url).await
    }

    pub(crate) fn key(&self, id: &str) -> String {
        format!("{}{}", self.scope.cache_prefix, key(id))
    }

    /// Sets the value of a device's key.
    pub(crate) async fn put(&self, device: &str, value: &str) {
        let () = self.redis().await.set_ex(self.key(device), value, 60).await.unwrap();
    }

    /// Applies these events in one batch.
    pub(crate) async fn apply(&self, events: impl IntoIterator<Item = &DeviceDelivery>) -> Applied {
        queries::apply_batch(&self.store, &events.into_iter().collect::<Vec<_>>()).await.unwrap()
    }

    /// Applies a device's event number `n`.
    pub(crate) async fn write(&self, device: &str, n: i64) -> Applied {
        write(&self.store, device, n).await.unwrap()
    }

    /// The current body of a device's resource.
    pub(crate) async fn body(&self, device: &str) -> String {
        queries::resource(&self.store, &id(device)).await.unwrap().unwrap().body
    }

    /// Stores a device's current body in a cache, as a reader does.
    pub(crate) async fn fill(&self, cache: &Cache, device: &DeviceId) {
        let lease = cache.lease(&device.cache_key()).await.unwrap();
        assert!(cache.fill(&device.cache_key(), &lease, Some(&self.body(device.as_str()).await)).await);
    }

    pub(crate) async fn sql(&self, statements: &'static str) {
        sqlx::raw_sql(statements).execute(&self.pool).await.unwrap();
    }

    /// The result of a query for one number.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

/// Applies a device's event number `n`, at the offset `n`.
pub(crate) async fn write(store: &Store, device: &str, n: i64) -> Result<Applied, Failure> {
    queries::apply_batch(store, &[&event(device, &n.to_string(), "{}", at(0, n))]).await
}

/// Starts three concurrent workers with batches of events of the same devices, each event `times` times. After a
/// failure of a class in `again`, a batch is applied again.
pub(crate) fn workers(
    store: &Store,
    (rounds, devices, times): (i64, u8, i64),
    again: &'static [Class],
) -> [JoinHandle<()>; 3] {
    [0, 1, 2].map(|partition| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..rounds {
                let id = format!("p{partition}-{}", n / times);
                let batch: Vec<_> =
                    (0..devices).map(|device| event(&format!("d{device}"), &id, "{}", at(partition, n))).collect();
                let batch: Vec<_> = batch.iter().collect();
                while let Err(error) = queries::apply_batch(&store, &batch).await {
                    assert!(again.contains(&error.class), "{error}");
                }
            }
        })
    })
}

/// The cached version of a device, if there is one.
pub(crate) async fn cached(cache: &Cache, device: &DeviceId) -> Option<i64> {
    match cache.get(&device.cache_key()).await {
        Lookup::Hit(body) => shared::cache::version(&body),
        _ => None,
    }
}

/// The number of a batch's events with this outcome.
pub(crate) fn count(applied: &Applied, outcome: Outcome) -> usize {
    applied.events.iter().filter(|event| event.outcome == outcome).count()
}

/// Asserts that not all nodes answer, and that the reason contains `expected`.
pub(crate) async fn assert_says(cache: &Cache, expected: &str) {
    let why = cache.answering().await.all().unwrap_err().to_string();
    assert!(why.contains(expected), "{why}");
}

pub(crate) fn settings(database_url: &str, redis_url: &str, prefix: &str) -> Settings {
    let mut settings = Settings::parse_from([
        "test",
        &format!("--database-url={database_url}"),
        &format!("--redis-url={redis_url}"),
        // Several addresses mean a cluster.
        &format!("--redis-cluster={}", redis_url.contains(',')),
        "--redis-timeout=2s",
    ]);
    settings.redis.key_prefix = Some(prefix.to_owned());
    settings
}

/// The settings of a store at `url`.
pub(crate) fn postgres(url: &str) -> PostgresConfig {
    settings(url, "redis://127.0.0.1:1", "p:").postgres
}

pub(crate) fn key(id: &str) -> CacheKey {
    CacheKey::new(&RESOURCE, id.into())
}

pub(crate) fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

pub(crate) fn event(device: &str, id: &str, payload: &str, position: Position) -> DeviceDelivery {
    let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap() + Duration::from_micros(123_456);
    let payload = Payload::check(Bytes::copy_from_slice(payload.as_bytes()), "").unwrap();
    let event = Event { device_id: device.parse().unwrap(), event_type: EventType::DeviceReported, payload };
    let envelope = Envelope { request_id: Some("r".into()), ..event.envelope(id.parse().unwrap(), at) };
    DeviceDelivery { envelope, position, event }
}

/// A position in the log; each offset is appended a second later.
pub(crate) fn at(partition: i32, offset: i64) -> Position {
    let appended_at = OffsetDateTime::from_unix_timestamp(1_700_000_000 + offset).unwrap();
    Position::new("t", partition, offset, appended_at)
}

/// A connection to the Redis at `url`, with a longer timeout than the client's half second, for busy machines.
pub(crate) async fn redis_at(url: &str) -> redis::aio::MultiplexedConnection {
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(TEST_TIMEOUT));
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}
