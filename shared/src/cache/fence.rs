//! The writer's side of the cache: after a transaction, no older body may be read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use metrics::Histogram;
use parking_lot::Mutex;
use time::OffsetDateTime;

use super::pending::{Bounds, Pending};
use super::{Cache, CacheKey, CommandFailure, FenceOutcome, FenceReport, Kind, LEASE_TTL, Loaded, scripts};
use crate::store::Store;

/// The most resources for which fences that could not be sent are kept. Beyond that, the TTL limits how long a stale
/// body lives.
const MAX_PENDING: usize = 100_000;
/// The most events that wait for a kept fence before they count as visible. Beyond that, an event counts at once, with
/// the longest delay that the TTL allows.
const MAX_PENDING_EVENTS: usize = 200_000;
/// Keys in one script on a single node.
const CHUNK: usize = 200;
/// Commands under way at once: to a single node, each for a chunk, and to a cluster, each for a key.
const CONCURRENCY: usize = 8;
const CONCURRENCY_OF_KEYS: usize = 128;
/// The timeout of a command. Longer than a reader's: a reader can ask PostgreSQL instead, but a failed fence leaves a
/// stale body.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The attempts for a fence before it is kept for later, unless Redis is known to be away. Enough failures to open the
/// breaker.
const TRIES: usize = 3;
/// The interval between attempts to send the kept fences.
const RETRY: Duration = Duration::from_millis(250);

/// A resource, and the lowest version that may be cached for it.
pub type Fence = (CacheKey, i64);
/// An event's resource, and when the event was accepted.
pub type Accepted<'a> = (&'a CacheKey, OffsetDateTime);
/// A fence with its index among the others.
type Placed<'a> = (usize, &'a Fence);

/// Sends fences, and keeps those that could not be sent.
#[derive(Clone)]
pub struct Fencer {
    cache: Cache,
    store: Store,
    pending: Arc<Mutex<Pending>>,
    since: Instant,
    /// Held while the kept fences are sent.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Fencer {
    /// A fencer; [`Self::run`] must run in the background.
    pub fn new(cache: Cache, store: Store) -> Self {
        let timeout = cache.timeout.max(TIMEOUT);
        // A lease taken before the fence may still be filled.
        let stale = LEASE_TTL + cache.ttl;
        let bounds = Bounds { fences: MAX_PENDING, events: MAX_PENDING_EVENTS, stale };
        let pending = Pending::new(bounds, &cache.kinds);
        Self {
            cache: Cache { timeout, ..cache },
            store,
            pending: Arc::new(Mutex::new(pending)),
            since: Instant::now(),
            turn: Arc::default(),
        }
    }

    /// Fences resources at these versions, and reports the outcome for each cache entry. Fences that Redis did not
    /// acknowledge are kept, and sent again.
    ///
    /// If Redis is slow, this waits and retries: a command that timed out may have been executed or not, and repeating
    /// it does no harm. If Redis is known to be away, this does not try, so that ingest does not wait for it.
    pub async fn fence(&self, versions: &[Fence]) -> FenceReport {
        self.fence_events(versions, &[]).await
    }

    /// The same after a batch of events. Records each event in `accepted_to_visible_seconds`: when its fence is
    /// acknowledged, now or later, or when no stale body can be cached any more.
    pub async fn fence_events(&self, versions: &[Fence], events: &[Accepted<'_>]) -> FenceReport {
        let mut report = FenceReport::pending(versions.len());
        let mut left: Vec<Placed<'_>> = versions.iter().enumerate().collect();
        for _ in 0..TRIES {
            left.retain(|(_, (key, _))| self.cache.is_well(key));
            if left.is_empty() {
                break;
            }
            report.note(&self.send(&left).await);
            left.retain(|(place, _)| report.outcomes.get(*place).is_none_or(|outcome| !outcome.is_acknowledged()));
        }
        self.note(versions, events, &mut report);
        report
    }

    /// Sends the kept fences, forever.
    pub async fn run(&self) {
        for kind in &*self.cache.kinds {
            count_lost(kind, 0);
        }
        show(&self.pending.lock());
        loop {
            tokio::time::sleep(RETRY).await;
            count_visible(self.pending.lock().expired(self.since.elapsed()));
            self.send_kept().await;
        }
    }

    /// Sends the kept fences until none is left, for at most `patience`; returns whether all were sent. For a worker
    /// that ends: it loses the fences that it still keeps.
    pub async fn finish(&self, patience: Duration) -> bool {
        let sent = async {
            self.send_kept().await;
            while self.pending_len() > 0 {
                tokio::time::sleep(RETRY).await;
                self.send_kept().await;
            }
        };
        tokio::time::timeout(patience, sent).await.is_ok()
    }

    /// Tries once to send the kept fences. They are kept until they are acknowledged.
    async fn send_kept(&self) {
        let _turn = self.turn.lock().await;
        let due = |(key, _): &(&CacheKey, i64)| self.cache.may_be_asked(key);
        let kept: Vec<Fence> =
            self.pending.lock().fences().filter(due).map(|(key, version)| (key.clone(), version)).collect();
        if kept.is_empty() {
            return;
        }
        let mut report = FenceReport::pending(kept.len());
        report.note(&self.send(&kept.iter().enumerate().collect::<Vec<_>>()).await);
        let mut sent = 0;
        let since = self.since.elapsed();
        let mut pending = self.pending.lock();
        for ((key, version), outcome) in kept.iter().zip(&report.outcomes) {
            if outcome.is_acknowledged() {
                sent += 1;
                // A fence with a greater version that was added meanwhile stays.
                count_visible(pending.acknowledged(key, *version, since));
            }
        }
        show(&pending);
        if sent > 0 {
            tracing::info!(sent, left = pending.len(), "sent the pending fences");
        }
    }

    /// The number of resources with a fence that is not sent yet.
    pub fn pending_len(&self) -> usize {
        self.pending.lock().len()
    }

    /// Returns the outcome of each acknowledged fence, with its index.
    async fn send(&self, fences: &[Placed<'_>]) -> Vec<(usize, FenceOutcome)> {
        let (size, concurrency) =
            if self.cache.servers.is_cluster() { (1, CONCURRENCY_OF_KEYS) } else { (CHUNK, CONCURRENCY) };
        let mut chunks = Vec::with_capacity(fences.len().div_ceil(size));
        for chunk in fences.chunks(size) {
            chunks.push(self.fence_chunk(chunk));
        }
        stream::iter(chunks).buffer_unordered(concurrency).concat().await
    }

    /// First step: sends only the versions, not the bodies.
    async fn fence_chunk(&self, chunk: &[Placed<'_>]) -> Vec<(usize, FenceOutcome)> {
        // Do not build a call that would not be sent.
        let Some((_, (first, _))) = chunk.first() else { return Vec::new() };
        if !self.cache.may_be_asked(first) {
            return Vec::new();
        }
        let mut call = scripts::fence_versions();
        for (_, (key, version)) in chunk {
            call.key(self.cache.redis_key(key)).arg(*version);
        }
        call.keys(self.cache.absent());
        let Ok(codes) = self.cache.run::<String>(&call).await else { return Vec::new() };
        let mut outcomes = Vec::with_capacity(chunk.len());
        let mut older = Vec::new();
        for (&fence, letter) in chunk.iter().zip(codes.bytes()) {
            match FenceOutcome::from_code(letter) {
                Some(outcome) => outcomes.push((fence.0, outcome)),
                None if letter == scripts::OLDER => older.push(fence),
                // Not an answer of our script: treated as no answer.
                None => {}
            }
        }
        if !older.is_empty() {
            outcomes.extend(self.replace(&older).await);
        }
        outcomes
    }

    /// Second step: new bodies for the keys that hold older ones. They are read after the transaction, so they are at
    /// least as new as its versions. If PostgreSQL does not return a body, its key is deleted.
    async fn replace(&self, older: &[Placed<'_>]) -> Vec<(usize, FenceOutcome)> {
        let found = self.load(older).await;
        let mut replacements = Vec::with_capacity(older.len());
        for &(place, fence) in older {
            let found = found.get(&fence.0);
            replacements.push(async move { self.replace_one(fence, found).await.map(|outcome| (place, outcome)) });
        }
        stream::iter(replacements).buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await
    }

    /// Reads the bodies of these keys from PostgreSQL.
    async fn load(&self, fences: &[Placed<'_>]) -> HashMap<CacheKey, Loaded> {
        let mut by_kind: HashMap<&str, (&'static Kind, Vec<Arc<str>>)> = HashMap::new();
        for (_, (key, _)) in fences {
            let (_, ids) = by_kind.entry(key.kind().prefix).or_insert_with(|| (key.kind(), Vec::new()));
            ids.push(Arc::clone(key.id()));
        }
        let mut found = HashMap::with_capacity(fences.len());
        for (kind, ids) in by_kind.into_values() {
            match (kind.load)(&self.store, &ids).await {
                Ok(loaded) => found.extend(loaded.into_iter().map(|it| (CacheKey::new(kind, Arc::clone(&it.id)), it))),
                Err(error) => tracing::warn!(%error, "cannot load bodies for fences: deleting the entries instead"),
            }
        }
        found
    }

    /// `None` if Redis did not acknowledge it.
    async fn replace_one(&self, (key, version): &Fence, found: Option<&Loaded>) -> Option<FenceOutcome> {
        // Ignore an older body: it came from a lagging replica, or the resource was erased and began again at version 1.
        let found = found.filter(|found| found.version >= *version);
        let (version, body) = found.map_or((*version, ""), |found| (found.version, found.body.as_str()));
        match self.cache.replace(key, version, body).await {
            Ok(code) => FenceOutcome::from_code(*code.as_bytes().first()?),
            // There is no memory for the body, or the key is being moved to another node. An absent key is always safe.
            Err(CommandFailure::Answered(_)) => self.cache.delete(key).await.then_some(FenceOutcome::Deleted),
            Err(CommandFailure::Away | CommandFailure::Refuses(_)) => None,
        }
    }

    /// Keeps the fences that were not acknowledged, drops the kept ones that were, and counts the events that are
    /// visible.
    fn note(&self, versions: &[Fence], events: &[Accepted<'_>], report: &mut FenceReport) {
        let (since, now) = (self.since.elapsed(), OffsetDateTime::now_utc());
        let age = |accepted: &OffsetDateTime| Duration::try_from(now - *accepted).unwrap_or_default();
        let mut pending = self.pending.lock();
        if report.is_acknowledged() && pending.len() == 0 {
            drop(pending);
            count_visible(events.iter().map(|(key, accepted)| (key.kind(), age(accepted))));
            return;
        }
        let mut put_off = HashSet::new();
        for ((key, version), outcome) in versions.iter().zip(&mut report.outcomes) {
            if outcome.is_acknowledged() {
                count_visible(pending.acknowledged(key, *version, since));
                continue;
            }
            put_off.insert(key);
            if !pending.keep(key, *version) {
                count_lost(key.kind(), 1);
                *outcome = FenceOutcome::Lost;
            }
        }
        let visible = events.iter().filter_map(|(key, accepted)| {
            let age = age(accepted);
            let visible = if put_off.contains(key) { pending.wait(key, age, since) } else { Some(age) };
            Some((key.kind(), visible?))
        });
        count_visible(visible);
        show(&pending);
    }
}

pub(super) fn describe() {
    metrics::describe_gauge!("cache_fences_pending", "Fences that wait for Redis.");
    metrics::describe_counter!("cache_fences_lost_total", "Fences that were dropped because too many wait for Redis.");
}

fn show(pending: &Pending) {
    for (kind, fences) in pending.by_kind() {
        metrics::gauge!("cache_fences_pending", "kind" => kind).set(fences as f64);
    }
}

fn count_lost(kind: &Kind, fences: u64) {
    metrics::counter!("cache_fences_lost_total", "kind" => kind.name()).increment(fences);
}

/// Records the time from acceptance to visibility of events.
fn count_visible(visible: impl IntoIterator<Item = (&'static Kind, Duration)>) {
    let mut of_kind = None;
    for (kind, after) in visible {
        let name = kind.name();
        let is_other = |(known, _): &(&str, Histogram)| *known != name;
        if of_kind.as_ref().is_none_or(is_other) {
            of_kind = Some((name, metrics::histogram!("accepted_to_visible_seconds", "kind" => name)));
        }
        if let Some((_, histogram)) = &of_kind {
            histogram.record(after);
        }
    }
}
