//! How long entries live in Redis.

use std::time::Duration;

use super::Cache;

/// How long a lease stands: longer than any read of PostgreSQL may take.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// How long it is remembered that a resource does not exist: for so long a 404 comes from the cache.
pub(super) const MISSING_TTL: Duration = Duration::from_secs(2);
/// How long fences of what was erased delete instead of replacing. Longer than a worker that was
/// about to send one can be away and still believe in its partition.
pub(super) const ERASED_TTL: Duration = Duration::from_secs(3600);

impl Cache {
    /// `CACHE_TTL`, up to a tenth shorter, so that what came in together does not go out together.
    pub(super) fn jittered_ttl(&self) -> Duration {
        self.ttl.mul_f64(1.0 - fastrand::f64() / 10.0).max(Duration::from_millis(1))
    }
}
