//! Events of one key that failed together are tried one by one, in turns with everybody else.
//!
//! A key that sends many events, all of which fail, would be a long row of transactions and dead letters that the
//! whole partition waits for. So only the next of them is begun, and the rest is held. It has its turn when others had
//! theirs, and further ones have theirs for as long as that took: the others have half of the time at least. Where they
//! have nothing to do, it has all of it.
//!
//! The log has one order. Where such a key sends more than can be tried in its time, what it holds grows up to a
//! [part](MAY_HOLD) of what may be held, and others' events come in no faster than its own are decided.

use std::collections::VecDeque;
use std::time::Duration;

use shared::kafka::ids::Key;

use super::{Scheduler, Task};

/// What is tried apart takes this part of what may be held, so that there is room for others that wait.
pub(super) const MAY_HOLD: usize = 4;

/// When the next event that is tried apart has its turn.
#[derive(Debug, Default)]
pub(super) struct OneByOne {
    /// Others had their turn.
    pub(super) is_next: bool,
    /// Until then it is the turn of what is tried apart.
    pub(super) until: Duration,
    /// What is under way is tried apart.
    is_under_way: bool,
    /// Of this key one event is begun that waits for another try before all others of its key, which are held.
    pub(super) begun: Option<Key>,
}

impl OneByOne {
    /// Something is handed out that is not tried apart.
    pub(super) fn begin<E>(&mut self, batch: &[Task<E>]) {
        self.is_under_way = false;
        if self.begun.is_some() && batch.first().map(Task::key) == self.begun.as_ref() {
            self.begun = None;
        }
    }

    /// What was handed out is back, after so long.
    pub(super) fn is_back(&mut self, now: Duration, cost: Duration) {
        if !std::mem::take(&mut self.is_under_way) {
            (self.is_next, self.until) = (true, now + cost);
        }
    }
}

impl<E> Scheduler<E> {
    /// Events of one key failed together.
    pub(super) fn try_apart(&mut self, key: Key, batch: Vec<Task<E>>, now: Duration) {
        if self.suspects_of_outage.is_aside(&key) {
            // It has turns of its own.
            for task in batch.into_iter().rev() {
                self.work.push_front(vec![task]);
            }
            return;
        }
        let singly = batch.len();
        let mut tasks = VecDeque::from(batch);
        tasks.append(&mut self.take_from_work(&key));
        self.hold_all(key.clone(), tasks, now);
        self.held.try_singly(&key, singly);
    }

    /// The next event that is tried apart.
    pub(super) fn next_apart(&mut self, now: Duration) -> Option<Task<E>> {
        if self.one_by_one.begun.is_some() {
            return None;
        }
        let is_apart = |key: &Key| self.held.is_apart(key) && !self.suspects_of_outage.is_aside(key);
        let key = self.held.first_due(now, is_apart)?.clone();
        let task = self.held.take_first(&key, now)?;
        self.count(&task);
        (self.one_by_one.is_next, self.one_by_one.is_under_way) = (false, true);
        Some(task)
    }

    /// Whether a key is held only because its events are tried apart: the next of them could be tried now. One that was
    /// set aside waits for something else, and nobody has to wait for it.
    pub(super) fn is_tried_apart(&self, key: &Key, now: Duration) -> bool {
        self.held.is_apart_and_due(key, now) && !self.suspects_of_outage.is_aside(key)
    }

    /// A batch is to be tried again before all that was begun. The rest of its key may be held: then it waits for that.
    pub(super) fn put_back(&mut self, batch: Vec<Task<E>>) {
        self.note_begun(&batch);
        self.work.push_front(batch);
    }

    /// The same of a batch that is put somewhere else.
    pub(super) fn note_begun(&mut self, batch: &[Task<E>]) {
        if let [task] = batch
            && self.held.has(task.key())
        {
            self.one_by_one.begun = Some(task.key().clone());
        }
    }

    /// Whether so much is held of what is tried apart that no more events come in of it. What others hold, which were set
    /// aside or wait for their retry, is not in its way.
    pub(super) fn holds_a_part(&self) -> bool {
        let super::Settings { held_records, held_bytes, .. } = self.settings;
        let (records, bytes) = self.held.apart(|key| !self.suspects_of_outage.is_aside(key));
        records >= held_records.div_ceil(MAY_HOLD) || bytes >= held_bytes.div_ceil(MAY_HOLD)
    }
}
