//! What subjects have paid for and did not get. A bucket of `governor` only gives: so a refund is kept beside it, and the
//! subject's next charge takes it first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Reference;

/// The most subjects with a refund; beyond that there are none.
const MOST: usize = 10_000;

pub(super) struct Refunds<I> {
    /// How long a refund is worth something: after that its bucket would be full without it.
    lasting: Duration,
    all: Mutex<HashMap<Box<str>, (u32, I)>>,
    /// The number of subjects, so that a charge takes no lock where nobody has a refund.
    subjects: AtomicUsize,
}

impl<I: Reference> Refunds<I> {
    pub(super) fn new(lasting: Duration) -> Self {
        Self { lasting, all: Mutex::default(), subjects: AtomicUsize::new(0) }
    }

    pub(super) fn add(&self, subject: &str, count: u32, now: I) {
        if count == 0 {
            return;
        }
        let mut all = self.all();
        if all.len() >= MOST {
            all.retain(|_, (_, since)| self.is_fresh(*since, now));
        }
        if let Some((held, since)) = all.get_mut(subject) {
            (*held, *since) = (held.saturating_add(count), now);
        } else if all.len() < MOST {
            all.insert(subject.into(), (count, now));
        }
        self.subjects.store(all.len(), Ordering::Relaxed);
    }

    /// Takes up to `most`; returns what was taken and what is left.
    pub(super) fn take(&self, subject: &str, most: u32, now: I) -> (u32, u32) {
        if self.subjects.load(Ordering::Relaxed) == 0 {
            return (0, 0);
        }
        let mut all = self.all();
        let Some((held, since)) = all.get_mut(subject) else { return (0, 0) };
        let worth = if self.is_fresh(*since, now) { *held } else { 0 };
        let taken = worth.min(most);
        *held = worth - taken;
        let left = *held;
        if left == 0 {
            all.remove(subject);
            self.subjects.store(all.len(), Ordering::Relaxed);
        }
        (taken, left)
    }

    fn is_fresh(&self, since: I, now: I) -> bool {
        Duration::from(now.duration_since(since)) < self.lasting
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Box<str>, (u32, I)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
