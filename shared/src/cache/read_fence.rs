//! The reader's own fence: who has seen a version sees none before it.

use super::CacheKey;
use super::scripts::code;
use super::{Cache, millis, scripts};

impl Cache {
    /// Leaves nothing older than a body that was read and not put in, and lets nothing older come: to
    /// be called before the body is shown. Until the worker's fence comes, a reader that asked
    /// PostgreSQL a moment earlier may be about to put in what it got, or has done so.
    ///
    /// Says whether Redis did so.
    pub async fn at_least(&self, key: &CacheKey, version: i64, body: &str) -> bool {
        let mut call = scripts::fence_versions();
        call.key(self.redis_key(key)).keys(self.absent()).arg(version);
        match self.run::<String>(&call).await {
            Err(_) => false,
            Ok(codes) if codes.as_bytes() != [code::OLDER] => true,
            Ok(_) => {
                let mut call = scripts::fence_body();
                call.key(self.redis_key(key)).key(self.mark(key)).keys(self.absent());
                call.arg(version).arg(body).arg(millis(self.jittered_ttl()));
                self.run::<String>(&call).await.is_ok()
            }
        }
    }
}
