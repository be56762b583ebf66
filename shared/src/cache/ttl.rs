//! The TTLs of entries in Redis.

use std::time::Duration;

use super::Cache;

/// The TTL of a lease: longer than any read of PostgreSQL may take.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// The TTL of the entry for a resource that does not exist: how long a 404 may come from the cache.
pub(super) const MISSING_TTL: Duration = Duration::from_secs(2);
/// The TTL of an erased resource's mark, during which fences delete instead of replacing. Longer than a stalled worker
/// can still consider its partition assigned.
pub(super) const ERASED_TTL: Duration = Duration::from_secs(3600);

impl Cache {
    /// `CACHE_TTL`, shortened by a random part of up to a tenth, so that entries stored together do not expire
    /// together.
    pub(super) fn jittered_ttl(&self) -> Duration {
        self.ttl.mul_f64(1.0 - fastrand::f64() / 10.0).max(Duration::from_millis(1))
    }
}
