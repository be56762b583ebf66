//! A database and a key prefix of a test's own.

use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use devstack::Scope;
use devstack::kit::scope;
pub(crate) use devstack::kit::until as eventually;
use shared::cache::RedisConfig;
use shared::cache::{Cache, CacheKey};
use shared::devices::{DeviceDelivery, DeviceId, Event, EventType, RESOURCE};
use shared::kafka::Envelope;
use shared::kafka::position::Position;
use shared::runtime::json::Payload;
use shared::store::PostgresConfig;
use shared::store::Store;
use time::OffsetDateTime;

#[derive(Debug, Parser)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) postgres: PostgresConfig,
    #[command(flatten)]
    pub(crate) redis: RedisConfig,
}

pub(crate) struct Kit {
    pub(crate) scope: Scope,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
}

impl Kit {
    pub(crate) async fn new(name: &str) -> Self {
        let kit = Self::without_schema(name).await;
        kit.store.migrate().await.unwrap();
        kit
    }

    pub(crate) async fn without_schema(name: &str) -> Self {
        let scope = scope(name).await;
        let settings = settings(&scope.database_url, &scope.endpoints.redis_url, &scope.cache_prefix);
        let store = Store::open(&settings.postgres, "test").unwrap();
        let cache = Cache::open(&settings.redis, &[&RESOURCE]).unwrap();
        Self { scope, store, cache }
    }

    /// The store anew, after it was closed.
    pub(crate) fn reopened(&self) -> Store {
        let settings = settings(&self.scope.database_url, &self.scope.endpoints.redis_url, &self.scope.cache_prefix);
        Store::open(&settings.postgres, "test").unwrap()
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.scope.endpoints.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) fn key(&self, id: &str) -> String {
        format!("{}resource:{id}", self.scope.cache_prefix)
    }
}

pub(crate) fn settings(database_url: &str, redis_url: &str, prefix: &str) -> Settings {
    let mut settings = Settings::parse_from([
        "test",
        &format!("--database-url={database_url}"),
        &format!("--redis-url={redis_url}"),
        // Several addresses are those of a cluster.
        &format!("--redis-cluster={}", redis_url.contains(',')),
        "--redis-timeout=2s",
    ]);
    settings.redis.key_prefix = Some(prefix.to_owned());
    settings
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

/// A place in the log, a second later for each offset.
pub(crate) fn at(partition: i32, offset: i64) -> Position {
    let appended_at = OffsetDateTime::from_unix_timestamp(1_700_000_000 + offset).unwrap();
    Position { topic: "t".into(), partition, offset, appended_at, redriven: false, create_time: false }
}
