//! What becomes of a batch that failed on data.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use shared::kafka::ids::Key;
use shared::kafka::{DeadLetter, Reason};
use shared::store::{Class, Failure};

use super::suspects::{MAX_SUSPECTS, Pressure};
use super::{Scheduler, Task, backoff};

/// How long after a key's first failure its events have their retries.
pub const RETRIES: Duration = Duration::from_secs(2 * 60);

/// Keys whose events fail on their own, until one is applied.
///
/// Each event has its retries, so that a fault that is soon over makes no heap of dead letters. But while they last all
/// later events of the key wait: so that the others have room, and the partition's offset moves, there is an end to
/// it. From then on each event has one try.
#[derive(Debug, Default)]
pub(super) struct Failing(HashMap<Key, FirstFailure>);

#[derive(Debug)]
struct FirstFailure {
    at: Duration,
    one_try: bool,
}

impl Failing {
    /// Events of these were applied.
    pub(super) fn applied<E>(&mut self, batch: &[Task<E>]) {
        if !self.0.is_empty() {
            for task in batch {
                self.0.remove(task.key());
            }
        }
    }

    /// An event of the key failed on its own; says whether such events may be tried again.
    fn failed(&mut self, key: &Key, pressure: Pressure, now: Duration) -> bool {
        if self.0.len() >= MAX_SUSPECTS && !self.0.contains_key(key) {
            self.0.clear();
        }
        let first = self.0.entry(key.clone()).or_insert(FirstFailure { at: now, one_try: false });
        first.one_try |= pressure != Pressure::None || now.saturating_sub(first.at) >= RETRIES;
        !first.one_try
    }
}

/// What becomes of a batch that was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// The same transaction is tried again at once.
    TriedAgain,
    /// It waits out an outage.
    Waits,
    /// It is tried in parts.
    Split,
    /// It is one event, whose key is held for so long.
    Held(Duration),
    /// It is one event, whose key alone meets what would be an outage, and is held for so long.
    HeldAlone(Duration),
    /// It is one event, and a dead letter.
    DeadLetter,
}

impl AfterFailure {
    /// Its name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TriedAgain => "tried_again",
            Self::Waits => "waits",
            Self::Split => "split",
            Self::Held(_) => "held",
            Self::HeldAlone(_) => "held_alone",
            Self::DeadLetter => "dead_letter",
        }
    }
}

impl<E> Scheduler<E> {
    /// A batch failed on data: halves by key, then a lone key's events one by one, then a
    /// verdict on the one.
    pub(super) fn take_apart(&mut self, batch: Vec<Task<E>>, error: Failure, now: Duration) -> AfterFailure {
        let mut seen = HashSet::new();
        let mut keys: Vec<_> = batch.iter().map(Task::key).filter(|key| seen.insert(*key)).cloned().collect();
        if keys.len() > 1 {
            let left: HashSet<_> = keys.iter().take(keys.len() / 2).collect();
            let (left, right) = batch.into_iter().partition(|task| left.contains(task.key()));
            self.work.push_front(right);
            self.work.push_front(left);
            return AfterFailure::Split;
        }
        // Of nothing, nothing is left to try.
        let Some(key) = keys.pop() else { return AfterFailure::Split };
        match <[Task<E>; 1]>::try_from(batch) {
            Ok([task]) => self.judge(task, error, now),
            Err(several) => {
                self.try_apart(key, several, now);
                AfterFailure::Split
            }
        }
    }

    fn judge(&mut self, mut task: Task<E>, error: Failure, now: Duration) -> AfterFailure {
        task.attempts += 1;
        let (reason, is_final) = match error.class {
            Class::Failed => (Reason::Failed, false),
            Class::Panicked => (Reason::Panicked, false),
            // An outage and a conflict are no verdict on the event, and do not come here.
            Class::Poison | Class::Again | Class::Outage | Class::OutageMet => (Reason::Rejected, true),
        };
        // What is no data for PostgreSQL says nothing of the key's other events.
        let is_tried_again = !is_final && self.failing.failed(task.key(), self.pressure_of(&task), now);
        let retry = if is_tried_again { backoff::retry_delay(task.attempts) } else { None };
        match retry {
            Some(delay) => {
                self.hold(task, now + delay);
                AfterFailure::Held(delay)
            }
            None => {
                self.make_dead_letter(task, reason, error.reason);
                AfterFailure::DeadLetter
            }
        }
    }

    /// An event becomes a dead letter. It stays counted, as a dead letter now.
    pub(super) fn make_dead_letter(&mut self, task: Task<E>, reason: Reason, error: String) {
        self.bytes -= task.size() - task.record.size();
        let Task { record, attempts, .. } = task;
        self.dead_letters.push_back(DeadLetter { record, reason, error, attempts });
    }

    /// Holds a key from this event on; what is begun or held of it is held with it, in order.
    pub(super) fn hold(&mut self, task: Task<E>, due: Duration) {
        let key = task.key().clone();
        let mut tasks = self.take_from_work(&key);
        tasks.push_front(task);
        self.hold_all(key, tasks, due);
    }

    /// What is begun of a key, in order.
    pub(super) fn take_from_work(&mut self, key: &Key) -> VecDeque<Task<E>> {
        let mut tasks = VecDeque::new();
        for unit in &mut self.work {
            let (same, other) = std::mem::take(unit).into_iter().partition(|task| task.key() == key);
            *unit = other;
            tasks.extend::<Vec<_>>(same);
        }
        self.work.retain(|unit| !unit.is_empty());
        tasks
    }

    /// What is begun of a key, and what is held of it, in order.
    pub(super) fn take_all(&mut self, key: &Key) -> VecDeque<Task<E>> {
        let mut tasks = self.take_from_work(key);
        for task in self.held.take(key).into_iter().flatten() {
            self.count(&task);
            tasks.push_back(task);
        }
        tasks
    }

    /// Holds a key with these events, which are all that is begun of it, before those that are held.
    pub(super) fn hold_all(&mut self, key: Key, tasks: VecDeque<Task<E>>, due: Duration) {
        tasks.iter().for_each(|task| self.release(task.size()));
        self.held.put_first(key, tasks, due);
    }
}
