//! What the worker says of Redis. Nothing waits for it: ingest goes on, and fences are kept.

use std::time::Duration;

use serde_json::json;
use shared::cache::{Cache, Fencer};

/// How often Redis is asked.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// What is known of Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CacheState {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It was asked.
    Asked {
        /// What it says, or what was met in asking it; none where it does all that it is asked.
        error: Option<String>,
        /// Fences that wait for it.
        fences_pending: usize,
    },
}

impl CacheState {
    pub(super) fn report(&self) -> serde_json::Value {
        match self {
            Self::Unknown => json!({"status": "unknown"}),
            Self::Asked { error: None, fences_pending } => json!({"status": "up", "fences_pending": fences_pending}),
            Self::Asked { error: Some(error), fences_pending } => {
                json!({"status": "down", "error": error, "fences_pending": fences_pending})
            }
        }
    }
}

/// Asks Redis, for ever, and shows what it says.
pub async fn watch_cache(cache: Cache, fencer: Fencer, show: impl Fn(CacheState)) {
    loop {
        let error = cache.answering().await.all().err().map(|error| format!("{error:#}"));
        show(CacheState::Asked { error, fences_pending: fencer.pending_len() });
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}
