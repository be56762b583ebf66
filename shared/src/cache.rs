//! The cache in Redis: a [`CacheKey`] holds either the JSON body of an HTTP response, or a lease.
//!
//! After a miss, a reader stores a **lease** under the key before it asks PostgreSQL, and **fills** the key with the
//! body only while that lease is still there. The worker **fences** after its transaction: it deletes leases and
//! replaces older bodies. So a body that was read before the fence cannot be stored after it. An absent key is always
//! safe, and so is deleting one.

mod batch_get;
mod breaker;
mod classify;
mod cluster;
mod commands;
mod config;
mod connection;
mod diagnosis;
mod effects;
mod failure;
mod fence;
mod fence_report;
mod id_sets;
mod key;
mod node;
mod operate;
mod pending;
mod read_fence;
mod refusals;
mod scripts;
mod topology;
mod trouble;
mod ttl;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, Value};
use tokio::time::Instant;

use self::batch_get::BatchGet;
pub use self::config::{RedisConfig, StoresConfig};
use self::effects::CACHE;
pub use self::fence::{Accepted, Fence, Fencer};
pub use self::fence_report::{FenceOutcome, FenceReport};
pub use self::id_sets::{Added, Entry, Found, IdSets, Incarnation, MetIncarnation, NewId};
pub use self::key::{CacheKey, Kind, Load};
use self::node::{CommandFailure, Node};
use self::scripts::Call;
use self::topology::{Servers, absent_key};
pub use self::ttl::LEASE_TTL;
use self::ttl::MISSING_TTL;
use crate::runtime::cores::PerCore;
pub use crate::store::Loaded;

/// Describes the metrics of the cache, and starts at 0 those that alerts use.
pub fn describe() {
    classify::describe();
    fence::describe();
}

/// The cache. Cloning it shares the connections.
#[derive(Clone)]
pub struct Cache {
    servers: Servers,
    batch_get: Arc<PerCore<Arc<BatchGet>>>,
    prefix: Arc<str>,
    kinds: Arc<[&'static Kind]>,
    ttl: Duration,
    timeout: Duration,
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// A body.
    Hit(Bytes),
    /// No entry.
    Miss,
    /// Another reader's lease.
    Leased(Lease),
    /// Neither a body nor a lease; it was deleted.
    Corrupt,
    /// No answer in time.
    Unavailable,
}

/// How many nodes answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// The number of nodes that answer.
    pub answering: usize,
    /// The number of all nodes; 0 if a cluster's nodes are not known yet.
    pub nodes: usize,
    /// The error of the first node that does not answer.
    pub why_not: Option<String>,
}

impl Answering {
    /// An error unless all nodes answer.
    pub fn all(self) -> anyhow::Result<()> {
        match self {
            Self { answering, nodes, .. } if nodes > 0 && answering == nodes => Ok(()),
            Self { why_not, .. } => Err(anyhow::Error::msg(why_not.unwrap_or_else(|| "no answer".to_owned()))),
        }
    }
}

/// The right to fill one key, valid while Redis holds this lease under the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease(String);

const LEASE: &str = "lease:";
const BODY: &[u8] = b"{\"version\":";

/// The cached body for a resource that does not exist: version 0, which every fence replaces.
pub const MISSING: &str = r#"{"version":0}"#;

/// The version at the beginning of a cached body.
pub fn version(body: &[u8]) -> Option<i64> {
    let digits = body.strip_prefix(BODY)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

impl Cache {
    /// A cache for these kinds, at least one. It connects in the background, so call it in a Tokio runtime. The error
    /// for an invalid `REDIS_URL` does not contain the URL.
    pub fn open(config: &RedisConfig, kinds: &[&'static Kind]) -> anyhow::Result<Self> {
        let absent_key = absent_key(config.key_prefix(), kinds);
        Ok(Self {
            servers: Servers::open(config, &absent_key, &CACHE)?,
            batch_get: Arc::default(),
            prefix: config.key_prefix().into(),
            kinds: kinds.into(),
            ttl: config.ttl,
            timeout: config.timeout,
        })
    }

    /// Connects the calling core in the background, so that its first read does not wait for that.
    pub fn attend(&self) {
        self.servers.attend();
    }

    /// Reads the entry of a key.
    pub async fn get(&self, key: &CacheKey) -> Lookup {
        // In a cluster the keys are in different slots, so they cannot share a request.
        if !self.servers.is_cluster() {
            match self.get_in_batch(self.redis_key(key)).await {
                Ok(Some(found)) => {
                    if let Some(lookup) = self.understood(found) {
                        return lookup;
                    }
                }
                // A key that is not a string looks like an absent one.
                Ok(None) => {}
                Err(_) => return Lookup::Unavailable,
            }
        }
        // Absent, or not an entry of ours: read it alone to find out. Boxed, so that hits have a small future.
        Box::pin(self.get_alone(key)).await
    }

    async fn get_alone(&self, key: &CacheKey) -> Lookup {
        let name = self.redis_key(key);
        match self.ask::<Option<Bytes>>(&name, redis::cmd("GET").arg(&name)).await {
            Ok(None) => Lookup::Miss,
            Ok(Some(found)) => match self.understood(found) {
                Some(lookup) => lookup,
                None => {
                    tracing::warn!(key = %key, "deleted a cache entry that is neither a body nor a lease");
                    self.delete(key).await;
                    Lookup::Corrupt
                }
            },
            // The key is not a string.
            Err(failure) if failure.is("WRONGTYPE") => {
                self.delete(key).await;
                Lookup::Corrupt
            }
            Err(_) => Lookup::Unavailable,
        }
    }

    fn understood(&self, found: Bytes) -> Option<Lookup> {
        if found.starts_with(BODY) {
            version(&found).map(|_| Lookup::Hit(found))
        } else {
            let text = std::str::from_utf8(&found).ok()?;
            text.starts_with(LEASE).then(|| Lookup::Leased(Lease(text.to_owned())))
        }
    }

    /// Takes the lease of an absent key; `None` if another reader was faster, or if Redis is away.
    pub async fn lease(&self, key: &CacheKey) -> Option<Lease> {
        let lease = Lease(format!("{LEASE}{:032x}", fastrand::u128(..)));
        let (name, mut set) = (self.redis_key(key), redis::cmd("SET"));
        set.arg(&name).arg(&lease.0).arg("NX").arg("PX").arg(millis(LEASE_TTL));
        match self.ask::<Option<String>>(&name, &set).await {
            Ok(Some(_)) => Some(lease),
            Ok(None) | Err(_) => None,
        }
    }

    /// Stores a body if this lease is still there; `None` stands for a resource that does not exist. Returns whether it
    /// was stored.
    pub async fn fill(&self, key: &CacheKey, lease: &Lease, body: Option<&str>) -> bool {
        let (body, ttl) = match body {
            Some(body) => (body, self.jittered_ttl()),
            None => (MISSING, MISSING_TTL),
        };
        let mut call = scripts::fill();
        call.key(self.redis_key(key)).arg(&lease.0).arg(body).arg(millis(ttl));
        self.run(&call).await.is_ok_and(|filled: i64| filled == 1)
    }

    /// Deletes an unused lease, so that the next reader does not have to wait until it expires.
    pub async fn release(&self, key: &CacheKey, lease: &Lease) {
        let mut call = scripts::release();
        call.key(self.redis_key(key)).arg(&lease.0);
        let _: Result<i64, _> = self.run(&call).await;
    }

    /// Pings the single node, or all known nodes of a cluster.
    pub async fn answering(&self) -> Answering {
        let until = Instant::now() + self.timeout;
        let nodes = match self.servers.nodes(until).await {
            Ok(nodes) => nodes,
            Err(why) => return Answering { answering: 0, nodes: 0, why_not: Some(why) },
        };
        let ask = async |node: &Node| match node.ping(until).await {
            Ok(()) => Ok(()),
            Err(why) => Err(format!("Redis at {}: {why}", node.name())),
        };
        let answers = futures_util::future::join_all(nodes.iter().map(ask)).await;
        let answering = answers.iter().filter(|answer| answer.is_ok()).count();
        let why_not = answers.into_iter().find_map(Result::err);
        Answering { answering, nodes: nodes.len(), why_not }
    }

    /// Returns whether Redis acknowledged it.
    async fn delete(&self, key: &CacheKey) -> bool {
        let name = self.redis_key(key);
        self.ask::<i64>(&name, redis::cmd("DEL").arg(&name)).await.is_ok()
    }

    fn redis_key(&self, key: &CacheKey) -> String {
        key.in_redis(&self.prefix)
    }

    /// Whether Redis answers for this key, as far as is known.
    fn is_well(&self, key: &CacheKey) -> bool {
        self.servers.is_well(self.redis_key(key).as_bytes())
    }

    /// Whether a command about this key could succeed now.
    fn may_be_asked(&self, key: &CacheKey) -> bool {
        self.servers.may_be_asked(self.redis_key(key).as_bytes())
    }

    /// Sends one command about a key, within the timeout; fails at once while the key's node is known to be away. A
    /// command that timed out may still be executed later.
    async fn ask<T: FromRedisValue>(&self, key: impl AsRef<[u8]>, command: &Cmd) -> Result<T, CommandFailure> {
        understood(self.servers.ask(key.as_ref(), command, Instant::now() + self.timeout).await?)
    }

    /// Runs a script, with the same timeout.
    async fn run<T: FromRedisValue>(&self, call: &Call) -> Result<T, CommandFailure> {
        understood(self.servers.run(call, Instant::now() + self.timeout).await?)
    }
}

fn understood<T: FromRedisValue>(answer: Value) -> Result<T, CommandFailure> {
    T::from_redis_value(answer).map_err(|error| CommandFailure::Answered(error.into()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_its_version() {
        assert_eq!(version(br#"{"version":7,"id":"a"}"#), Some(7));
        assert_eq!(version(MISSING.as_bytes()), Some(0));
        for body in [
            &br#"{"version":,"#[..],
            br#"{"version":7"#,
            br#"{"version":-1,"#,
            b"lease:1",
            b"",
            b"{\"version\":99999999999999999999,",
        ] {
            assert_eq!(version(body), None);
        }
    }
}
