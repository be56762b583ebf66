//! The settings of Redis.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::value_parser;

use crate::runtime::config::{Secret, duration_in, text, trimmed, yes_or_no};
use crate::store::PostgresConfig;

const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3_600);
/// Below 10 ms, commands on a busy machine would always time out: the cache would never be used or fenced. The worker's
/// fences wait at least as long too, which delays ingest, so the upper limit is 10 s.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// The connection to Redis.
#[derive(Debug, Clone, clap::Args)]
pub struct RedisConfig {
    /// `redis://user:password@host:port`, or `rediss://` for TLS, which verifies certificate and host name; several,
    /// separated by commas, with `REDIS_CLUSTER`.
    #[arg(id = "redis-url", long, value_name = "REDIS_URL", env = "REDIS_URL", hide_env_values = true, value_parser = trimmed(value_parser!(Secret)))]
    pub url: Secret,
    /// The certificate authorities to trust instead of the system's: a file, or the certificates themselves (PEM).
    #[arg(id = "redis-tls-ca", long, value_name = "REDIS_TLS_CA", env = "REDIS_TLS_CA", value_parser = text())]
    pub tls_ca: Option<String>,
    /// Whether Redis is a cluster.
    #[arg(id = "redis-cluster", long, value_name = "REDIS_CLUSTER", env = "REDIS_CLUSTER", default_value_t = false, action = clap::ArgAction::Set, value_parser = yes_or_no())]
    pub cluster: bool,
    /// How long a body stays in the cache, from 1s to 30days.
    #[arg(id = "cache-ttl", long, value_name = "CACHE_TTL", env = "CACHE_TTL", default_value = "60s", value_parser = duration_in(TTLS))]
    pub ttl: Duration,
    /// A prefix of every key, before the prefix of each kind of entry (`resource:`); without braces if Redis is a
    /// cluster.
    #[arg(id = "cache-key-prefix", long, value_name = "CACHE_KEY_PREFIX", env = "CACHE_KEY_PREFIX", value_parser = text())]
    pub key_prefix: Option<String>,
    /// The time for one command, after which a read asks PostgreSQL instead, from 10ms to 10s.
    #[arg(id = "redis-timeout", long, value_name = "REDIS_TIMEOUT", env = "REDIS_TIMEOUT", default_value = "100ms", value_parser = duration_in(TIMEOUTS))]
    pub timeout: Duration,
}

impl RedisConfig {
    /// The prefix of every key.
    pub fn key_prefix(&self) -> &str {
        self.key_prefix.as_deref().unwrap_or_default()
    }
}

/// Where events have their effect.
#[derive(Debug, Clone, clap::Args)]
pub struct StoresConfig {
    /// PostgreSQL.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisConfig,
}
