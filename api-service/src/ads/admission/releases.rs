//! Ids that have to be released: their events were certainly not sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use shared::cache::Entry;
use tokio::sync::Notify;

/// The most that wait. Beyond that they count against their users' caps, until the day ends.
const MOST: usize = 50_000;
/// The most that are released together.
const TOGETHER: usize = 256;

#[derive(Default)]
pub(super) struct Releases {
    waiting: Mutex<VecDeque<Arc<Entry>>>,
    added: Notify,
}

impl Releases {
    pub(super) fn push(&self, entry: Arc<Entry>) {
        let mut waiting = self.locked();
        if waiting.len() >= MOST {
            drop(waiting);
            return drop_some(1);
        }
        waiting.push_back(entry);
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits for the next ones. They wait on until they are [`done`](Self::done).
    pub(super) async fn next(&self) -> Vec<Arc<Entry>> {
        loop {
            let next = self.now();
            if !next.is_empty() {
                return next;
            }
            self.added.notified().await;
        }
    }

    /// The next ones, if there are any.
    pub(super) fn now(&self) -> Vec<Arc<Entry>> {
        self.locked().iter().take(TOGETHER).cloned().collect()
    }

    /// The first ones are released.
    pub(super) fn done(&self, count: usize) {
        let mut waiting = self.locked();
        let count = count.min(waiting.len());
        waiting.drain(..count);
    }

    /// Gives up those that are left.
    pub(super) fn give_up(&self) {
        let left = self.locked().drain(..).count();
        if left > 0 {
            drop_some(left);
        }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_some(count: usize) {
    counter!("ads_cap_releases_dropped_total").increment(count as u64);
    tracing::warn!(count, "ids of ad events that were not sent count against their users' caps");
}
