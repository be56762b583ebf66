//! What Redis holds: under `resource:{id}` either the JSON body of the answer itself, or a lease.
//!
//! A reader that misses takes a **lease** under the key before it asks PostgreSQL, and **fills** in
//! what it read only while that very lease stands. The worker **fences** after its transaction: it
//! deletes leases and replaces older bodies. So no body that was read before the fence can be put
//! in after it. An absent key is always safe, and so is deleting one.

mod at_least;
mod breaker;
mod connection;
mod fence;
mod operate;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue, RedisError, RedisResult};

use self::breaker::Breaker;
use self::connection::Connection;
pub use self::fence::Fencer;
use crate::config::RedisConfig;
use crate::event::DeviceId;

/// The cache. Cloning it shares the connection.
#[derive(Clone)]
pub struct Cache {
    connection: Connection,
    breaker: Arc<Breaker>,
    prefix: Arc<str>,
    ttl: Duration,
    timeout: Duration,
}

/// What a reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// A body.
    Hit(Bytes),
    /// Nothing.
    Miss,
    /// Another reader's lease.
    Leased(Lease),
    /// Neither a body nor a lease; it was deleted.
    Corrupt,
    /// No answer in time.
    Unavailable,
}

/// The right to fill one key, as long as it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease(String);

const LEASE: &str = "lease:";
const BODY: &[u8] = b"{\"version\":";
/// Longer than any read of PostgreSQL may take.
const LEASE_TTL: Duration = Duration::from_secs(10);
/// How long it is remembered that a resource does not exist.
const MISSING_TTL: Duration = Duration::from_secs(2);

/// The body kept for a resource that does not exist: version 0, which every fence replaces.
pub const MISSING: &str = r#"{"version":0}"#;

/// The version that a body of ours starts with.
pub fn version(body: &[u8]) -> Option<i64> {
    let digits = body.strip_prefix(BODY)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

impl Cache {
    /// A cache that connects when it is first asked, and again by itself.
    ///
    /// # Errors
    /// `REDIS_URL` is not one; the message does not repeat it.
    pub fn open(config: &RedisConfig) -> anyhow::Result<Self> {
        anyhow::ensure!(!config.ttl.is_zero(), "CACHE_TTL must be more than 0");
        Ok(Self {
            connection: Connection::open(config)?,
            breaker: Arc::new(Breaker::default()),
            prefix: config.key_prefix.as_str().into(),
            ttl: config.ttl,
            timeout: config.timeout,
        })
    }

    /// What is there for a resource.
    pub async fn get(&self, id: &DeviceId) -> Lookup {
        match self.command(redis::cmd("GET").arg(self.key(id))).await {
            Ok(None) => Lookup::Miss,
            Ok(Some(found)) => match self.understood(found) {
                Some(lookup) => lookup,
                None => {
                    tracing::warn!(device_id = %id, "deleted a cache entry that is neither a body nor a lease");
                    self.delete(id).await;
                    Lookup::Corrupt
                }
            },
            // The key holds something that is no string at all.
            Err(Failure::Answered(_)) => {
                self.delete(id).await;
                Lookup::Corrupt
            }
            Err(Failure::Away) => Lookup::Unavailable,
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

    /// Takes the lease of a key that was found absent; none where somebody else was quicker, or
    /// Redis is away.
    pub async fn lease(&self, id: &DeviceId) -> Option<Lease> {
        let lease = Lease(format!("{LEASE}{:032x}", fastrand::u128(..)));
        let mut set = redis::cmd("SET");
        set.arg(self.key(id)).arg(&lease.0).arg("NX").arg("PX").arg(millis(LEASE_TTL));
        match self.command::<Option<String>>(&set).await {
            Ok(Some(_)) => Some(lease),
            Ok(None) | Err(_) => None,
        }
    }

    /// Puts a body in, if this very lease still stands; `None` is the body of a resource that does
    /// not exist. Says whether it did.
    pub async fn fill(&self, id: &DeviceId, lease: &Lease, body: Option<&str>) -> bool {
        let (body, ttl) = match body {
            Some(body) => (body, self.jittered_ttl()),
            None => (MISSING, MISSING_TTL),
        };
        let script = scripts::fill();
        let mut call = script.prepare_invoke();
        call.key(self.key(id)).arg(&lease.0).arg(body).arg(millis(ttl));
        self.within(call.invoke_async(&mut self.connection.clone())).await.is_ok_and(|filled: i64| filled == 1)
    }

    /// Gives a lease back unused, so that the next reader does not have to wait for its end.
    pub async fn release(&self, id: &DeviceId, lease: &Lease) {
        let script = scripts::release();
        let mut call = script.prepare_invoke();
        call.key(self.key(id)).arg(&lease.0);
        let _: Result<i64, _> = self.within(call.invoke_async(&mut self.connection.clone())).await;
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> bool {
        self.command::<String>(&redis::cmd("PING")).await.is_ok()
    }

    async fn delete(&self, id: &DeviceId) {
        let _: Result<i64, _> = self.command(redis::cmd("DEL").arg(self.key(id))).await;
    }

    fn key(&self, id: &DeviceId) -> String {
        format!("{}{id}", self.prefix)
    }

    /// Up to a tenth shorter, so that what came in together does not go out together.
    fn jittered_ttl(&self) -> Duration {
        self.ttl.mul_f64(1.0 - fastrand::f64() / 10.0).max(Duration::from_millis(1))
    }

    async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Failure> {
        self.within(command.query_async(&mut self.connection.clone())).await
    }

    /// One question to Redis, within the deadline, and not at all while it is known to be away.
    async fn within<T>(&self, question: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
        if !self.breaker.allows() {
            return Err(Failure::Away);
        }
        match tokio::time::timeout(self.timeout, question).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                Ok(answer)
            }
            // An answer, if not the one hoped for.
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => {
                self.breaker.succeeded();
                Err(Failure::Answered(error))
            }
            Ok(Err(error)) => {
                self.away(&error.to_string());
                Err(Failure::Away)
            }
            Err(_) => {
                self.away("no answer in time");
                Err(Failure::Away)
            }
        }
    }

    fn away(&self, why: &str) {
        if self.breaker.failed() {
            tracing::warn!(error = why, "Redis is away: reads come from PostgreSQL");
        }
    }
}

/// Why there is no answer.
enum Failure {
    /// Redis answered with an error.
    #[expect(dead_code, reason = "shown by Debug only")]
    Answered(RedisError),
    /// It did not answer, or is known to be away.
    Away,
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
