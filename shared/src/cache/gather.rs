//! Reads that come at the same time travel together: one MGET, instead of a GET for each.
//!
//! While a question is under way the next ones gather, and go together when it is answered. So a lone
//! read waits for nobody, and under load a round trip, on either side, is paid for once by many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Cache;
use super::node::Failure;

/// Questions under way at once: while one is answered another is on its way.
const FLIGHTS: usize = 2;
/// Keys in one of them, so that a great many, or a few with large bodies, do not hold up others.
const KEYS: usize = 32;

/// What is found under a key; none where there was no answer.
type Found = Option<Option<Bytes>>;

/// The reads that wait to be asked.
#[derive(Default)]
pub(super) struct Gathering(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<(String, oneshot::Sender<Found>)>,
    flights: usize,
}

impl Cache {
    /// What is there under a key, asked for together with others. A key that holds no string is told
    /// as absent, as MGET does.
    pub(super) async fn gather(&self, key: String) -> Result<Option<Bytes>, Failure> {
        // Of this read's own, whatever the question before it is waiting for.
        let until = Instant::now() + self.timeout;
        let (tell, found) = oneshot::channel();
        let starts = {
            let mut state = self.gathering.state();
            state.waiting.push((key, tell));
            let starts = state.flights < FLIGHTS;
            state.flights += usize::from(starts);
            starts
        };
        if starts {
            // It goes on whatever becomes of this read: others wait for it too.
            let cache = self.clone();
            tokio::spawn(async move { cache.fly().await });
        }
        timeout_at(until, found).await.ok().and_then(Result::ok).flatten().ok_or(Failure::Away)
    }

    /// Asks until nobody waits.
    async fn fly(&self) {
        let mut flight = Flight { gathering: Arc::clone(&self.gathering), landed: false };
        // Those that came in at the same time, and were not run yet, come along.
        tokio::task::yield_now().await;
        while let Some((keys, waiting)) = flight.take() {
            // Of a single server: it has every key.
            let answer: Result<Vec<Option<Bytes>>, _> = self.ask("", redis::cmd("MGET").arg(keys)).await;
            let mut found = answer.ok().into_iter().flatten();
            for waiting in waiting {
                // Who does not wait any more has been answered.
                let _ = waiting.send(found.next());
            }
        }
    }
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, State> {
        // What waits is whole whenever the lock is free, whatever the holder's fate.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the flights.
struct Flight {
    gathering: Arc<Gathering>,
    landed: bool,
}

impl Flight {
    /// Those that wait; without any the flight is over. Both under one lock: who comes after it starts
    /// another.
    fn take(&mut self) -> Option<(Vec<String>, Vec<oneshot::Sender<Found>>)> {
        let mut state = self.gathering.state();
        state.waiting.retain(|(_, waiting)| !waiting.is_closed());
        let count = state.waiting.len().min(KEYS);
        if count == 0 {
            state.flights -= 1;
            self.landed = true;
            return None;
        }
        Some(state.waiting.drain(..count).unzip())
    }
}

impl Drop for Flight {
    /// Where it crashed, the next read starts another.
    fn drop(&mut self) {
        if !self.landed {
            self.gathering.state().flights -= 1;
        }
    }
}
