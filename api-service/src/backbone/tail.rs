//! Requests that are held until an event comes: each instance reads the end of the topic, without a group, while it holds
//! any. An event only wakes a request, which then reads the state again; so an event that is missed costs time, and no
//! wrong answer.

mod reader;
mod waiters;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use metrics::gauge;
use rdkafka::ClientConfig;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::waiters::Waiters;

/// How often a held request reads the state again although no event came.
const FALLBACK: Duration = Duration::from_secs(5);
/// The same while the reader has not found the end of the topic yet, so that events may be missed.
const FALLBACK_AT_FIRST: Duration = Duration::from_millis(500);
/// The gauge of held requests.
pub(super) const HELD: &str = "held_requests";

/// What a request waits for: the type and the subject of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interest {
    pub event_type: &'static str,
    pub subject: Arc<str>,
}

/// Holds requests until events of a topic come.
pub struct Tail {
    waiters: Arc<Mutex<Waiters>>,
    client: ClientConfig,
    topic: String,
    most: usize,
}

/// The tails of an instance, which end together.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<Vec<Weak<Tail>>>);

impl Tails {
    pub(super) fn add(&self, tail: &Arc<Tail>) {
        locked(&self.0).push(Arc::downgrade(tail));
    }

    /// The topics that they read.
    pub(super) fn topics(&self) -> Vec<String> {
        locked(&self.0).iter().filter_map(Weak::upgrade).map(|tail| tail.topic.clone()).collect()
    }

    pub(super) fn held(&self) -> usize {
        locked(&self.0).iter().filter_map(Weak::upgrade).map(|tail| locked(&tail.waiters).len()).sum()
    }

    /// Wakes every held request, and holds none any more: the instance is shutting down.
    pub(super) fn end(&self) {
        for tail in locked(&self.0).iter().filter_map(Weak::upgrade) {
            locked(&tail.waiters).end();
        }
    }
}

impl Tail {
    /// A tail of this topic, which holds so many requests. It reads nothing before the first one.
    pub(super) fn new(client: ClientConfig, topic: &str, most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { waiters: Arc::default(), client, topic: topic.to_owned(), most }
    }

    /// Holds a request until its interest is met; `None` if too many are held, or the instance is shutting down. To be
    /// called before the state is read: an event that comes after that wakes the request.
    pub fn hold(&self, interest: Interest) -> Option<Held> {
        let (woken, begins) = {
            let mut waiters = locked(&self.waiters);
            let woken = waiters.add(&interest, self.most)?;
            gauge!(HELD).set(waiters.len() as f64);
            (woken, waiters.begin_reader())
        };
        if begins {
            reader::begin(self.client.clone(), self.topic.clone(), Arc::clone(&self.waiters));
        }
        Some(Held { waiters: Arc::clone(&self.waiters), interest, woken })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A held request.
#[derive(Debug)]
pub struct Held {
    waiters: Arc<Mutex<Waiters>>,
    interest: Interest,
    woken: Arc<Notify>,
}

impl Held {
    /// Waits until the state is worth reading again, at most until `until`. Whether the request may wait on: not while
    /// the instance is shutting down.
    pub async fn wait(&self, until: Instant) -> bool {
        let fallback = if locked(&self.waiters).is_at_end() { FALLBACK } else { FALLBACK_AT_FIRST };
        let _ = timeout_at(until.min(Instant::now() + fallback), self.woken.notified()).await;
        !locked(&self.waiters).has_ended()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut waiters = locked(&self.waiters);
        waiters.remove(&self.interest, &self.woken);
        gauge!(HELD).set(waiters.len() as f64);
    }
}
