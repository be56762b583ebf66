//! Events of one key that failed together are tried one by one, in turns with all other keys.
//!
//! A key that sends many failing events would cause a long series of transactions and dead letters, and the whole
//! partition would wait for it. So only the key's next event is begun, and the rest is held. Its turn comes after a
//! turn of the other keys and lasts as long as theirs did, so the others get at least half of the time. If the others
//! have nothing to do, the key gets all of it.
//!
//! Records are read in log order. If such a key sends more than can be tried in its time, its held events grow up to a
//! [fraction](MAY_HOLD) of the bound, and from then on events of other keys are taken in only as fast as the key's own
//! are decided.

use std::collections::VecDeque;
use std::time::Duration;

use shared::kafka::ids::Key;

use super::{Scheduler, Task};

/// Events that are tried one by one use at most this fraction (one in four) of the bounds on held events, so that other
/// held keys have room.
pub(super) const MAY_HOLD: usize = 4;

/// When the next of the events that are tried one by one has its turn.
#[derive(Debug, Default)]
pub(super) struct OneByOne {
    /// The other keys had their turn.
    pub(super) is_next: bool,
    /// The turn of the events that are tried one by one lasts until then.
    pub(super) until: Duration,
    /// The batch under way is such an event.
    is_under_way: bool,
    /// One event of this key is in `work` and waits for another try; the rest of the key is held behind it.
    pub(super) begun: Option<Key>,
}

impl OneByOne {
    /// A batch of the other keys is handed out.
    pub(super) fn begin<E>(&mut self, batch: &[Task<E>]) {
        self.is_under_way = false;
        if self.begun.is_some() && batch.first().map(Task::key) == self.begun.as_ref() {
            self.begun = None;
        }
    }

    /// The batch is back, after this long.
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
            // Such keys have turns of their own.
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

    /// Takes the next of the events that are tried one by one.
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

    /// Whether a key is held only because its events are tried one by one, so that the next could be tried now. A key
    /// that was set aside waits for another reason, and the other keys need not wait for it.
    pub(super) fn is_tried_apart(&self, key: &Key, now: Duration) -> bool {
        self.held.is_apart_and_due(key, now) && !self.suspects_of_outage.is_aside(key)
    }

    /// Puts a batch back at the front of `work`. If the rest of its key is held, that rest waits for it.
    pub(super) fn put_back(&mut self, batch: Vec<Task<E>>) {
        self.note_begun(&batch);
        self.work.push_front(batch);
    }

    /// Notes that a single event goes back to `work` while the rest of its key is held.
    pub(super) fn note_begun(&mut self, batch: &[Task<E>]) {
        if let [task] = batch
            && self.held.has(task.key())
        {
            self.one_by_one.begun = Some(task.key().clone());
        }
    }

    /// Whether the events that are tried one by one have reached their part of the bounds, so that no more of them are
    /// taken in. Events of keys that were set aside or wait for a retry do not count.
    pub(super) fn holds_a_part(&self) -> bool {
        let super::Settings { held_records, held_bytes, .. } = self.settings;
        let (records, bytes) = self.held.apart(|key| !self.suspects_of_outage.is_aside(key));
        records >= held_records.div_ceil(MAY_HOLD) || bytes >= held_bytes.div_ceil(MAY_HOLD)
    }
}
