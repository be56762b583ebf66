//! The worker's side of the cache: after a transaction nothing older may be read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::{Cache, Failure, scripts};
use crate::event::DeviceId;
use crate::store::{Rendered, Store};

/// Fences that could not be sent are kept for this many resources; past it, the TTL bounds how
/// long a stale body lives.
const MAX_PENDING: usize = 100_000;
/// Keys in one script on a single node.
const CHUNK: usize = 200;
/// Commands under way at once.
const CONCURRENCY: usize = 8;
/// How long a command may take. More than a reader's: a reader has PostgreSQL to go to, and a fence
/// that is late leaves something stale behind.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often fences that could not be sent are tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Sends fences, and keeps those that could not be sent.
#[derive(Clone)]
pub struct Fencer {
    cache: Cache,
    store: Store,
    pending: Arc<Mutex<HashMap<DeviceId, i64>>>,
}

impl Fencer {
    /// A fencer; [`Self::run`] has to run beside it.
    pub fn new(cache: Cache, store: Store) -> Self {
        let timeout = cache.timeout.max(TIMEOUT);
        Self { cache: Cache { timeout, ..cache }, store, pending: Arc::default() }
    }

    /// Fences resources at these versions. Never fails: what Redis did not take is kept and sent
    /// when it is back. While it is known to be away nothing is tried here, so that ingest does not
    /// wait for it.
    pub async fn fence(&self, versions: &[(DeviceId, i64)]) {
        if self.cache.breaker.is_closed() {
            self.send(versions).await;
        } else {
            self.keep(versions.iter());
        }
    }

    async fn send(&self, versions: &[(DeviceId, i64)]) {
        let size = if self.cache.connection.is_cluster() { 1 } else { CHUNK };
        let mut chunks = Vec::with_capacity(versions.len().div_ceil(size));
        for chunk in versions.chunks(size) {
            chunks.push(self.fence_chunk(chunk));
        }
        stream::iter(chunks).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    /// Sends what is kept, for ever.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(RETRY).await;
            let pending = std::mem::take(&mut *self.pending());
            if !pending.is_empty() {
                let versions: Vec<_> = pending.into_iter().collect();
                self.send(&versions).await;
                let left = self.pending_len();
                if left < versions.len() {
                    tracing::info!(sent = versions.len() - left, left, "sent fences that were kept");
                }
            }
        }
    }

    /// How many resources have a fence that is still to be sent.
    pub fn pending_len(&self) -> usize {
        self.pending().len()
    }

    async fn fence_chunk(&self, chunk: &[(DeviceId, i64)]) {
        match self.older(chunk).await {
            Ok(older) if older.is_empty() => {}
            Ok(older) => self.replace(&older).await,
            Err(_) => self.keep(chunk.iter()),
        }
    }

    /// First step: versions travel, bodies do not. Tells which resources have an older body.
    async fn older<'a>(&self, chunk: &'a [(DeviceId, i64)]) -> Result<Vec<&'a (DeviceId, i64)>, Failure> {
        let script = scripts::fence_versions();
        let mut call = script.prepare_invoke();
        for (id, version) in chunk {
            call.key(self.cache.key(id)).arg(*version);
        }
        let older: Vec<usize> = self.cache.within(call.invoke_async(&mut self.cache.connection.clone())).await?;
        Ok(older.into_iter().filter_map(|index| chunk.get(index.checked_sub(1)?)).collect())
    }

    /// Second step: bodies, read after the transaction and so at least as new as its versions, for
    /// the keys that hold one. Where PostgreSQL does not give them, the keys are deleted.
    async fn replace(&self, older: &[&(DeviceId, i64)]) {
        let ids: Vec<DeviceId> = older.iter().map(|(id, _)| id.clone()).collect();
        let found = self.store.resources(&ids).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "no bodies for the fence: deleting instead");
            Vec::new()
        });
        let found: HashMap<&DeviceId, &Rendered> = found.iter().map(|resource| (&resource.id, resource)).collect();
        let mut replacements = Vec::with_capacity(older.len());
        for &entry in older {
            replacements.push(self.replace_one(entry, found.get(&entry.0).copied()));
        }
        stream::iter(replacements).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    async fn replace_one(&self, entry: &(DeviceId, i64), found: Option<&Rendered>) {
        let (version, body) = found.map_or((entry.1, ""), |found| (found.version, found.body.as_str()));
        let script = scripts::fence_body();
        let mut call = script.prepare_invoke();
        call.key(self.cache.key(&entry.0))
            .key(self.cache.mark(&entry.0))
            .arg(version)
            .arg(body)
            .arg(super::millis(self.cache.jittered_ttl()));
        let sent: Result<i64, _> = self.cache.within(call.invoke_async(&mut self.cache.connection.clone())).await;
        if sent.is_err() {
            self.keep(std::iter::once(entry));
        }
    }

    fn keep<'a>(&self, entries: impl Iterator<Item = &'a (DeviceId, i64)>) {
        let mut pending = self.pending();
        let mut lost = 0_u64;
        for (id, version) in entries {
            if let Some(kept) = pending.get_mut(id) {
                *kept = (*kept).max(*version);
            } else if pending.len() < MAX_PENDING {
                pending.insert(id.clone(), *version);
            } else {
                lost += 1;
            }
        }
        metrics::counter!("cache_fences_lost_total").increment(lost);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("cache_fences_pending").set(pending.len() as f64);
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<DeviceId, i64>> {
        // The map is whole whenever the lock is free, whatever the holder's fate.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
