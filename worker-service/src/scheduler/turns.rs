//! Chooses what is tried next. A key that met an outage alone is tried after the other keys, and only so often that
//! these keep their share of the time.
//!
//! A try of such a key may take as long as the store's deadline, and the partition waits for it. A few such keys could
//! take up all of the time, and could even block the events that are tried one by one for ever. So they have turns: one
//! key at a time, when nothing that was begun is left to do, when the others had their turn since the last one, and
//! when as much time has passed as that one took. However many such keys there are, the others get at least half of the
//! time.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use shared::kafka::ids::Key;

use super::suspects::Before;
use super::{Action, Scheduler, Task};

/// When the next key that was set aside or is held alone may be tried.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the batch under way was handed out.
    pub(super) begun: Duration,
    /// The records of this batch were tried before, in this batch or another.
    pub(super) again: bool,
    /// The next such key is not tried before this time.
    from: Duration,
    /// It is the turn of the other keys, if they have anything to do.
    pub(super) of_others: bool,
}

impl Turns {
    /// How long the batch took that has just come back.
    pub(super) fn cost(&self, now: Duration) -> Duration {
        now.saturating_sub(self.begun)
    }

    /// A try that took `cost` failed, and the other keys had no turn meanwhile; they get `theirs` before the next one.
    pub(super) fn failed(&mut self, now: Duration, cost: Duration, theirs: Duration) {
        self.from = now.max(self.from + cost) + theirs;
    }
}

impl<E> Scheduler<E> {
    /// Chooses what to try next.
    pub(super) fn choose(&mut self, now: Duration) -> Action<E> {
        while let Some(key) = self.held.first_due(now, |key| self.begins_whole(key)).cloned() {
            self.begin_held(&key);
        }
        // If no more keys may be set aside, the begun work may fail for ever, while one of the keys that were set aside
        // may have recovered.
        let may_be = now >= self.turns.from && (self.work.is_empty() || self.suspects_of_outage.set_aside_is_full());
        if may_be
            && !self.turns.of_others
            && let Some(key) = self.next_set_aside(now)
        {
            self.begin_held(&key);
            self.turns.of_others = true;
        }
        self.turns.again = true;
        if (self.one_by_one.is_next || now < self.one_by_one.until)
            && let Some(task) = self.next_apart(now)
        {
            return Action::Apply(vec![task]);
        }
        self.turns.again = !self.work.is_empty();
        let batch = self.work.pop_front().unwrap_or_else(|| self.gather(now));
        if !batch.is_empty() {
            self.one_by_one.begin(&batch);
            return Action::Apply(batch);
        }
        if let Some(task) = self.next_apart(now) {
            self.turns.again = true;
            return Action::Apply(vec![task]);
        }
        // The other keys have nothing to do.
        let suspects = &self.suspects_of_outage;
        if now >= suspects.probe_from
            && let Some(bytes) = suspects.waits_for_others(&self.held)
        {
            return Action::Probe(self.suspects_of_outage.probe_for(bytes, now));
        }
        let Some(key) = self.next_set_aside(now).filter(|_| now >= self.turns.from) else {
            return Action::Wait(self.due());
        };
        match suspects.before(&key, now) {
            Before::Probe(bytes) => Action::Probe(self.suspects_of_outage.probe_for(bytes, now)),
            Before::Wait => Action::Wait(self.due_of_others().into_iter().chain([suspects.probe_from]).min()),
            Before::Nothing => {
                self.begin_held(&key);
                Action::Apply(self.work.pop_front().unwrap_or_default())
            }
        }
    }

    /// When there is something to do again if nothing comes in, for example because a held key is due.
    pub fn due(&self) -> Option<Duration> {
        let aside = self.held.earliest(|key| self.suspects_of_outage.is_aside(key));
        let aside = aside.map(|due| due.max(self.turns.from));
        let waits = self.suspects_of_outage.waits_for_others(&self.held);
        let probe = waits.map(|_| self.suspects_of_outage.probe_from);
        self.due_of_others().into_iter().chain(aside).chain(probe).min()
    }

    /// The same for held keys that were not set aside.
    fn due_of_others(&self) -> Option<Duration> {
        self.held.earliest(|key| !self.suspects_of_outage.is_aside(key))
    }

    /// A batch waits out an outage at the end of `work`, with the later events of its keys behind it: when no more keys
    /// may be set aside, other begun work may succeed. The batch is not halved, so that an outage leaves few small
    /// batches behind.
    pub(super) fn put_off_behind(&mut self, batch: Vec<Task<E>>, message: String, now: Duration) {
        let keys: HashSet<_> = batch.iter().map(|task| task.key().clone()).collect();
        self.note_begun(&batch);
        let mut behind = VecDeque::from([batch]);
        for unit in &mut self.work {
            let (same, other) = std::mem::take(unit).into_iter().partition(|task| keys.contains(task.key()));
            *unit = other;
            behind.push_back(same);
        }
        self.work.append(&mut behind);
        self.work.retain(|unit| !unit.is_empty());
        self.turns.of_others = false;
        self.outage.wait(now, message);
    }

    /// The key to try now of those that were set aside or are held alone. If much is held, it is one of the keys that
    /// hold the most, and of these the one with the most evidence against it.
    fn next_set_aside(&self, now: Duration) -> Option<Key> {
        let is_aside = |key: &_| self.suspects_of_outage.is_aside(key);
        if !self.is_half_full(0, 0) {
            return self.held.first_due(now, is_aside).cloned();
        }
        let largest = self.held.largest_due(now, &self.settings, is_aside);
        let nearest = largest.max_by_key(|(key, share)| (self.suspects_of_outage.case(key), *share));
        nearest.map(|(key, _)| key.clone())
    }

    /// Whether a held key, once due, is tried again before all others, with all of its held events.
    fn begins_whole(&self, key: &Key) -> bool {
        !self.suspects_of_outage.is_aside(key)
            && !self.held.is_apart(key)
            && self.one_by_one.begun.as_ref() != Some(key)
    }

    fn begin_held(&mut self, key: &Key) {
        if let Some(tasks) = self.held.take(key) {
            self.begin_again(tasks);
        }
    }
}
