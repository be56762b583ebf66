//! Reads that arrive at the same time share one request, instead of a GET each (a data loader).
//!
//! While a request is under way, further reads are collected, and sent together when it is answered. So a single read
//! does not wait, and under load many reads share the cost of a round trip. Each core has its own requests: a read that
//! was sent by another core would be woken from there.
//!
//! The size of a body is not known before the answer, which has the deadline of a single read and uses the connection
//! that all reads share. So a shared request asks for the beginning of each body only: an answer has at most `BYTES`. A
//! longer body is read again, alone.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Cache;
use super::node::CommandFailure;
use super::topology::Servers;

/// Requests under way at once: while one is answered, the next one is sent.
const MAX_REQUESTS: usize = 2;
/// The most keys in a request, so that no request takes long.
const KEYS: usize = 32;
/// The most bytes in an answer for several keys.
const BYTES: usize = 1024 * 1024;
/// The number of recent bodies that the estimate of the next sizes uses.
const FORESEEN_BY: usize = 64;

/// A key's value; the outer `None` means that there was no answer.
type Fetched = Option<Option<Bytes>>;

/// The reads of a core that wait for a request.
#[derive(Default)]
pub(super) struct BatchGet(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Read>,
    /// Reads whose bodies are too large for a shared request.
    large: VecDeque<Read>,
    /// Whether a large read is next.
    large_next: bool,
    requests: usize,
    sizes: Sizes,
}

struct Read {
    key: String,
    tell: oneshot::Sender<Fetched>,
}

impl Read {
    /// The reader may have given up meanwhile.
    fn answer(self, found: Fetched) {
        let _ = self.tell.send(found);
    }
}

/// The sizes of recent bodies. They decide how many keys share a request; an answer never exceeds its limit.
#[derive(Debug, Default, Clone, Copy)]
struct Sizes {
    bodies: usize,
    bytes: usize,
}

impl Sizes {
    fn mean(self) -> usize {
        self.bytes / self.bodies.max(1)
    }

    /// How many keys share a request, so that few of their bodies are read again.
    fn keys(self) -> usize {
        (BYTES / (2 * self.mean()).max(1)).clamp(1, KEYS)
    }

    fn answered(&mut self, bodies: usize, bytes: usize) {
        self.bodies += bodies;
        self.bytes += bytes;
        while self.bodies > FORESEEN_BY {
            (self.bodies, self.bytes) = (self.bodies / 2, self.bytes * (self.bodies / 2) / self.bodies);
        }
    }

    /// There was no answer in time; the network may be slow. The request after the next one has one key.
    fn failed(&mut self) {
        let bodies = KEYS / 8;
        let mean = (self.mean().max(BYTES / 2 / KEYS) * 8).min(BYTES);
        *self = Self { bodies, bytes: bodies * mean };
    }
}

impl Cache {
    /// A key's value, read together with others. A key that is not a string counts as absent.
    pub(super) async fn get_in_batch(&self, key: String) -> Result<Option<Bytes>, CommandFailure> {
        // This read's own deadline, however long the request before it takes.
        let until = Instant::now() + self.timeout;
        let (tell, found) = oneshot::channel();
        let starts = {
            let mut state = self.batch_get().0.lock();
            state.waiting.push_back(Read { key, tell });
            let starts = state.requests < MAX_REQUESTS;
            state.requests += usize::from(starts);
            starts
        };
        if starts {
            // It goes on even if this read is given up: others wait for it too.
            let cache = self.clone();
            tokio::spawn(async move { cache.send_waiting().await });
        }
        timeout_at(until, found).await.ok().and_then(Result::ok).flatten().ok_or(CommandFailure::Away)
    }

    fn batch_get(&self) -> &Arc<BatchGet> {
        self.batch_get.here(Arc::default)
    }

    /// Sends requests until no read waits.
    async fn send_waiting(&self) {
        let mut sender = Sender { batch_get: Arc::clone(self.batch_get()), done: false };
        // Let other tasks run, so that the reads that arrived at the same time are included.
        tokio::task::yield_now().await;
        while let Some(reads) = sender.take() {
            match reads.len() {
                1 => self.ask_for_one(reads).await,
                count => self.ask_for_many(reads, BYTES / count.max(1)).await,
            }
        }
    }

    async fn ask_for_one(&self, reads: Vec<Read>) {
        for read in reads {
            // The key passed to `ask` only chooses a cluster's node; here there is a single server.
            match self.ask::<Option<Bytes>>("", redis::cmd("GET").arg(&read.key)).await {
                Ok(found) => {
                    if let Some(body) = &found {
                        self.batch_get().0.lock().sizes.answered(1, body.len());
                    }
                    read.answer(Some(found));
                }
                Err(failure) => {
                    let is_no_string = failure.is("WRONGTYPE");
                    if !is_no_string {
                        self.batch_get().0.lock().sizes.failed();
                    }
                    read.answer(is_no_string.then_some(None));
                }
            }
        }
    }

    /// Asks for at most `most` bytes of each body.
    async fn ask_for_many(&self, reads: Vec<Read>, most: usize) {
        // A cluster has no batched reads.
        let Servers::One(node) = &self.servers else { return };
        let keys: Vec<&str> = reads.iter().map(|read| read.key.as_str()).collect();
        let answer = node.ask_beginnings(&keys, most, Instant::now() + self.timeout).await;
        let mut state = self.batch_get().0.lock();
        let Ok(found) = answer else {
            state.sizes.failed();
            drop(state);
            reads.into_iter().for_each(|read| read.answer(None));
            return;
        };
        let (mut bodies, mut bytes) = (0, 0);
        for (read, found) in reads.into_iter().zip(found) {
            match &found {
                // The body seems to be longer.
                Some(body) if body.len() >= most => {
                    state.large.push_back(read);
                    continue;
                }
                Some(body) => {
                    bodies += 1;
                    bytes += body.len();
                }
                None => {}
            }
            read.answer(Some(found));
        }
        state.sizes.answered(bodies, bytes);
    }
}

/// Sends requests, one after the other, until no read waits.
struct Sender {
    batch_get: Arc<BatchGet>,
    done: bool,
}

impl Sender {
    /// The reads of the next request. If no read waits, `None`, and this sender is done. Both happen under one lock, so
    /// that the next read starts another sender.
    fn take(&mut self) -> Option<Vec<Read>> {
        let mut state = self.batch_get.0.lock();
        let state = &mut *state;
        for waiting in [&mut state.waiting, &mut state.large] {
            waiting.retain(|read| !read.tell.is_closed());
        }
        // Alternate, so that neither kind delays the other.
        state.large_next = !state.large.is_empty() && (state.large_next || state.waiting.is_empty());
        let (from, count) = if state.large_next {
            (&mut state.large, 1)
        } else {
            let count = state.waiting.len().min(state.sizes.keys());
            (&mut state.waiting, count)
        };
        state.large_next = !state.large_next;
        if count == 0 {
            state.requests -= 1;
            self.done = true;
            return None;
        }
        Some(from.drain(..count).collect())
    }
}

impl Drop for Sender {
    /// After a panic the next read starts another sender.
    fn drop(&mut self) {
        if !self.done {
            self.batch_get.0.lock().requests -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever sizes came before, bodies of one size soon share requests as far as they fit, and small ones up to
        /// `KEYS`.
        #[test]
        fn bodies_of_one_size_soon_go_together_as_far_as_they_fit(
            before in proptest::collection::vec(proptest::option::of(0_usize..600_000), 0..50),
            body in 1_usize..600_000,
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
            for size in [body, 1_000] {
                for _ in 0..1_000 {
                    sizes.answered(sizes.keys(), sizes.keys() * size);
                }
                let (keys, foreseen) = (sizes.keys(), Sizes { bodies: 1, bytes: size }.keys());
                prop_assert!(keys.abs_diff(foreseen) <= 1, "{:?} of {}", sizes, size);
                prop_assert!(keys == 1 || size < BYTES / keys, "asked for again");
            }
            prop_assert_eq!(sizes.keys(), KEYS);
        }
    }

    /// Three time-outs open the breaker.
    #[test]
    fn of_answers_that_take_too_long_two_at_most_are_for_several() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.keys(), KEYS);
        sizes.failed();
        assert_eq!(sizes.keys(), KEYS / 8);
        sizes.failed();
        assert_eq!(sizes.keys(), 1);
    }
}
