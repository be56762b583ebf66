//! Requests that arrive at the same time share one call of a script on a single node: the call's own cost is that of
//! several ids. While a call is under way, further requests are collected, and sent together when it is answered.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{Added, IdSets, MOST_IDS, NewId};

/// Calls under way at once: while one is answered, the next one is sent.
const MAX_CALLS: usize = 2;

/// The requests that wait for a call.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Request>,
    calls: usize,
}

struct Request {
    ids: Vec<NewId>,
    tell: oneshot::Sender<Vec<Added>>,
}

impl IdSets {
    /// Adds at most [`MOST_IDS`] ids, together with those of other requests.
    pub(super) async fn add_with_others(&self, ids: Vec<NewId>) -> Vec<Added> {
        let count = ids.len();
        // This request's own deadline, however long the call before it takes.
        let until = Instant::now() + self.0.timeout;
        let (tell, answers) = oneshot::channel();
        let starts = {
            let mut queue = self.0.queue.lock();
            queue.waiting.push_back(Request { ids, tell });
            let starts = queue.calls < MAX_CALLS;
            queue.calls += usize::from(starts);
            starts
        };
        if starts {
            // It goes on even if this request is given up: others wait for it too.
            let sets = self.clone();
            tokio::spawn(async move { sets.send_waiting().await });
        }
        let answers = timeout_at(until, answers).await.ok().and_then(Result::ok);
        answers.unwrap_or_else(|| vec![Added::Unsure; count])
    }

    /// Sends calls until no request waits.
    async fn send_waiting(&self) {
        let mut sender = Sender { sets: self.clone(), done: false };
        // Let other tasks run, so that the requests that arrived at the same time are included.
        tokio::task::yield_now().await;
        while let Some(requests) = sender.take() {
            let ids: Vec<_> = requests.iter().flat_map(|request| &request.ids).collect();
            let mut answers = self.send(&ids).await.into_iter();
            for Request { ids, tell } in requests {
                // The request may have been given up meanwhile.
                let _ = tell.send(answers.by_ref().take(ids.len()).collect());
            }
        }
    }
}

/// Sends calls, one after the other, until no request waits.
struct Sender {
    sets: IdSets,
    done: bool,
}

impl Sender {
    /// The requests of the next call. If none waits, `None`, and this sender is done. Both happen under one lock, so
    /// that the next request starts another sender.
    fn take(&mut self) -> Option<Vec<Request>> {
        let mut queue = self.sets.0.queue.lock();
        queue.waiting.retain(|request| !request.tell.is_closed());
        let mut taken: Vec<Request> = Vec::new();
        let mut count = 0;
        while let Some(next) = queue.waiting.front() {
            count += next.ids.len();
            if count > MOST_IDS && !taken.is_empty() {
                break;
            }
            taken.extend(queue.waiting.pop_front());
        }
        if taken.is_empty() {
            queue.calls -= 1;
            self.done = true;
            return None;
        }
        Some(taken)
    }
}

impl Drop for Sender {
    /// After a panic the next request starts another sender.
    fn drop(&mut self) {
        if !self.done {
            self.sets.0.queue.lock().calls -= 1;
        }
    }
}
