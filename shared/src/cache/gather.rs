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
/// Keys in one of them, so that a great many do not hold up others.
const KEYS: usize = 32;
/// Bytes in an answer, as far as can be foreseen: it has the deadline of a single read.
const BYTES: usize = 1024 * 1024;

/// What is found under a key; none where there was no answer.
type Found = Option<Option<Bytes>>;

/// The reads that wait to be asked.
#[derive(Default)]
pub(super) struct Gathering(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<(String, oneshot::Sender<Found>)>,
    flights: usize,
    sizes: Sizes,
}

/// How large the bodies are that are being asked for. Nobody knows before the answer.
#[derive(Debug, Default, Clone, Copy)]
struct Sizes {
    /// Bytes of a body, forgotten slowly: small ones among large ones do not make the large ones smaller.
    mean: usize,
}

impl Sizes {
    /// As many keys as are asked for at once.
    fn keys(self) -> usize {
        (BYTES / self.mean.max(1)).clamp(1, KEYS)
    }

    /// So many keys had so many bytes.
    fn answered(&mut self, keys: usize, bytes: usize) {
        let mean = bytes / keys.max(1);
        self.mean = mean.max((self.mean * 7 + mean) / 8);
    }

    /// There was no answer in time, and it may be that it was too large: the one after the next has one key.
    fn failed(&mut self) {
        self.mean = (self.mean.max(BYTES / KEYS) * 8).min(BYTES);
    }
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
            let count = keys.len();
            let answer: Result<Vec<Option<Bytes>>, _> = self.ask("", redis::cmd("MGET").arg(keys)).await;
            match &answer {
                Ok(found) => {
                    let bytes = found.iter().flatten().map(Bytes::len).sum();
                    self.gathering.state().sizes.answered(count, bytes);
                }
                Err(_) => self.gathering.state().sizes.failed(),
            }
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
        let count = state.waiting.len().min(state.sizes.keys());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever came before: what is as large as the last answer's bodies fits the next, and small ones go together
        /// again.
        #[test]
        fn the_next_question_is_for_no_more_than_fits(
            before in proptest::collection::vec(proptest::option::of(0_usize..600_000), 0..50),
            body in 0_usize..600_000,
        ) {
            let mut sizes = Sizes::default();
            for answer in before {
                let keys = sizes.keys();
                prop_assert!((1..=KEYS).contains(&keys));
                match answer {
                    Some(body) => sizes.answered(keys, keys * body),
                    None => sizes.failed(),
                }
            }
            sizes.answered(sizes.keys(), sizes.keys() * body);
            prop_assert!(sizes.keys() == 1 || sizes.keys() * body <= BYTES);
            for _ in 0..50 {
                sizes.answered(sizes.keys(), sizes.keys() * 1_000);
            }
            prop_assert_eq!(sizes.keys(), KEYS);
        }
    }

    /// Three time-outs open the breaker.
    #[test]
    fn of_answers_that_are_too_large_two_at_most_are_asked_for() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.keys(), KEYS);
        sizes.failed();
        assert_eq!(sizes.keys(), KEYS / 8);
        sizes.failed();
        assert_eq!(sizes.keys(), 1);
    }
}
