//! The reader's own fence: after a reader returned a version, no earlier one is returned.

use super::{Cache, CacheKey, CommandFailure, millis, scripts};

impl Cache {
    /// Fences a resource at a body that was read from PostgreSQL and not cached: removes older bodies, and leases that
    /// could store one. Call it before the body is returned: until the worker's fence arrives, a reader that asked
    /// PostgreSQL a moment earlier may have cached an older body, or may be about to.
    ///
    /// True if Redis acknowledged it.
    pub async fn at_least(&self, key: &CacheKey, version: i64, body: &str) -> bool {
        let mut call = scripts::fence_versions();
        call.key(self.redis_key(key)).keys(self.absent()).arg(version);
        match self.run::<String>(&call).await {
            Err(_) => false,
            Ok(codes) if codes.as_bytes() != [scripts::OLDER] => true,
            Ok(_) => self.replace(key, version, body).await.is_ok(),
        }
    }

    /// The second step of a fence, for a key with an older body. If `body` is empty, the key is deleted.
    pub(super) async fn replace(&self, key: &CacheKey, version: i64, body: &str) -> Result<String, CommandFailure> {
        let mut call = scripts::fence_body();
        call.key(self.redis_key(key)).key(self.mark(key)).keys(self.absent());
        call.arg(version).arg(body).arg(millis(self.jittered_ttl()));
        self.run(&call).await
    }
}
