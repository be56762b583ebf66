//! Handles a batch that failed on data.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use shared::kafka::ids::Key;
use shared::kafka::{DeadLetter, Reason};
use shared::store::{Class, Failure};

use super::suspects::{MAX_SUSPECTS, Pressure};
use super::{Scheduler, Task, backoff};

/// How long after a key's first failure its events are still retried.
pub const RETRIES: Duration = Duration::from_secs(2 * 60);

/// Keys whose events fail on their own, until one is applied.
///
/// Each event is retried, so that a short fault does not create many dead letters. But all later events of the key
/// wait for these retries, take up memory and hold back the partition's offset. So after [`RETRIES`], or once too much
/// waits, each event of the key gets a single try.
#[derive(Debug, Default)]
pub(super) struct Failing(HashMap<Key, FirstFailure>);

#[derive(Debug)]
struct FirstFailure {
    at: Duration,
    one_try: bool,
}

impl Failing {
    /// The batch was applied: its keys no longer fail.
    pub(super) fn applied<E>(&mut self, batch: &[Task<E>]) {
        if !self.0.is_empty() {
            for task in batch {
                self.0.remove(task.key());
            }
        }
    }

    /// An event of the key failed on its own; returns whether the key's events may be retried.
    fn failed(&mut self, key: &Key, pressure: Pressure, now: Duration) -> bool {
        if self.0.len() >= MAX_SUSPECTS && !self.0.contains_key(key) {
            self.0.clear();
        }
        let first = self.0.entry(key.clone()).or_insert(FirstFailure { at: now, one_try: false });
        first.one_try |= pressure != Pressure::None || now.saturating_sub(first.at) >= RETRIES;
        !first.one_try
    }
}

/// What the scheduler does with a batch that was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// The same transaction is tried again at once.
    TriedAgain,
    /// It waits out an outage.
    Waits,
    /// It is split, and its parts are tried.
    Split,
    /// It is one event; its key is held for this long.
    Held(Duration),
    /// It is one event whose key alone meets an outage error; the key is held for this long.
    HeldAlone(Duration),
    /// It is one event, which becomes a dead letter.
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
    /// A batch failed on data. It is split into halves by key; the events of a single key are then tried one by one;
    /// a single event is judged.
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
        // An empty batch: nothing to try.
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
            // Outages and conflicts are not caused by the event and do not reach this function.
            Class::Poison | Class::Again | Class::Outage | Class::OutageMet => (Reason::Rejected, true),
        };
        // A final rejection (data that PostgreSQL cannot store) is no evidence about the key's other events.
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

    /// Turns an event into a dead letter. It stays counted in `records` and `bytes`.
    pub(super) fn make_dead_letter(&mut self, task: Task<E>, reason: Reason, error: String) {
        self.bytes -= task.size() - task.record.size();
        let Task { record, attempts, .. } = task;
        self.dead_letters.push_back(DeadLetter { record, reason, error, attempts });
    }

    /// Holds a key from this event on; the key's events in `work` are held behind it, in order.
    pub(super) fn hold(&mut self, task: Task<E>, due: Duration) {
        let key = task.key().clone();
        let mut tasks = self.take_from_work(&key);
        tasks.push_front(task);
        self.hold_all(key, tasks, due);
    }

    /// Takes the key's events out of `work`, in order.
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

    /// Takes the key's events out of `work` and `held`, in order.
    pub(super) fn take_all(&mut self, key: &Key) -> VecDeque<Task<E>> {
        let mut tasks = self.take_from_work(key);
        for task in self.held.take(key).into_iter().flatten() {
            self.count(&task);
            tasks.push_back(task);
        }
        tasks
    }

    /// Holds a key with these events, which are all that `work` had of it, before those already held.
    pub(super) fn hold_all(&mut self, key: Key, tasks: VecDeque<Task<E>>, due: Duration) {
        tasks.iter().for_each(|task| self.release(task.size()));
        self.held.put_first(key, tasks, due);
    }
}
