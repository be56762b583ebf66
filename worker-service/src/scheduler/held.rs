//! Keys that wait for another try, with the event that failed and all later ones.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use shared::kafka::ids::Key;

use super::{Settings, Task};

/// The held events have reached a bound: the scheduler takes in no more records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFull {
    pub records: usize,
    pub bytes: usize,
    /// The key with the largest share of the bounds.
    pub key: Key,
    pub key_records: usize,
    pub key_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Held<E> {
    keys: HashMap<Key, Waiting<E>>,
    records: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<E> {
    tasks: VecDeque<Task<E>>,
    bytes: usize,
    due: Duration,
    /// This many of the first tasks are tried one by one.
    singly: usize,
}

impl<E> Waiting<E> {
    /// The key's share of the bounds on records and bytes, whichever is larger. Only good for comparison.
    fn share(&self, settings: &Settings) -> u128 {
        let times = |amount: usize, other: usize| (amount as u128).saturating_mul(other as u128);
        times(self.tasks.len(), settings.held_bytes).max(times(self.bytes, settings.held_records))
    }
}

impl<E> Default for Held<E> {
    fn default() -> Self {
        Self { keys: HashMap::new(), records: 0, bytes: 0 }
    }
}

impl<E> Held<E> {
    pub(super) fn has(&self, key: &Key) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(key)
    }

    /// Holds a key until `due`, with these events before the ones that are already held.
    pub(super) fn put_first(&mut self, key: Key, tasks: VecDeque<Task<E>>, due: Duration) {
        let new = || Waiting { tasks: VecDeque::new(), bytes: 0, due, singly: 0 };
        let waiting = self.keys.entry(key).or_insert_with(new);
        waiting.due = due;
        if waiting.singly > 0 {
            waiting.singly += tasks.len();
        }
        for task in tasks.into_iter().rev() {
            self.records += 1;
            self.bytes += task.size();
            waiting.bytes += task.size();
            waiting.tasks.push_front(task);
        }
    }

    /// The first `singly` events of the key are tried one by one.
    pub(super) fn try_singly(&mut self, key: &Key, singly: usize) {
        if let Some(waiting) = self.keys.get_mut(key) {
            waiting.singly = singly;
        }
    }

    /// Whether the key's next event is tried alone while the rest stays held.
    pub(super) fn is_apart(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|waiting| waiting.singly > 0)
    }

    /// Whether this is so and the key is due.
    pub(super) fn is_apart_and_due(&self, key: &Key, now: Duration) -> bool {
        self.keys.get(key).is_some_and(|waiting| waiting.singly > 0 && waiting.due <= now)
    }

    /// Records and bytes held by the matching keys whose events are tried one by one.
    pub(super) fn apart(&self, is_such: impl Fn(&Key) -> bool) -> (usize, usize) {
        let apart = self.keys.iter().filter(|(key, waiting)| waiting.singly > 0 && is_such(key));
        apart.fold((0, 0), |(records, bytes), (_, waiting)| (records + waiting.tasks.len(), bytes + waiting.bytes))
    }

    /// Takes the first event of a key; the rest stays held and is due now, behind the keys that were due before.
    pub(super) fn take_first(&mut self, key: &Key, now: Duration) -> Option<Task<E>> {
        let waiting = self.keys.get_mut(key)?;
        let task = waiting.tasks.pop_front()?;
        waiting.singly = waiting.singly.saturating_sub(1);
        waiting.bytes -= task.size();
        waiting.due = now;
        self.records -= 1;
        self.bytes -= task.size();
        if waiting.tasks.is_empty() {
            self.keys.remove(key);
        }
        Some(task)
    }

    /// Appends an event to its held key.
    pub(super) fn append(&mut self, task: Task<E>) {
        if let Some(waiting) = self.keys.get_mut(task.key()) {
            self.records += 1;
            self.bytes += task.size();
            waiting.bytes += task.size();
            waiting.tasks.push_back(task);
        }
    }

    /// The matching key that has been due the longest.
    pub(super) fn first_due(&self, now: Duration, is_such: impl Fn(&Key) -> bool) -> Option<&Key> {
        let due = self.keys.iter().filter(|(key, waiting)| waiting.due <= now && is_such(key));
        due.min_by_key(|(_, waiting)| waiting.due).map(|(key, _)| key)
    }

    /// The matching due keys with a large share of the bounds: at least half the share of the largest one.
    pub(super) fn largest_due(
        &self,
        now: Duration,
        settings: &Settings,
        is_such: impl Fn(&Key) -> bool,
    ) -> impl Iterator<Item = (&Key, u128)> {
        let due = self.keys.iter().filter(move |(key, waiting)| waiting.due <= now && is_such(key));
        let due: Vec<_> = due.map(|(key, waiting)| (key, waiting.share(settings))).collect();
        let most = due.iter().map(|(_, share)| *share).max().unwrap_or_default();
        due.into_iter().filter(move |(_, share)| 2 * share >= most)
    }

    /// Releases a key and returns its events.
    pub(super) fn take(&mut self, key: &Key) -> Option<VecDeque<Task<E>>> {
        let waiting = self.keys.remove(key)?;
        self.records -= waiting.tasks.len();
        self.bytes -= waiting.bytes;
        Some(waiting.tasks)
    }

    /// Whether the held events have reached a bound.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        self.records >= settings.held_records || self.bytes >= settings.held_bytes
    }

    /// Describes the held events if they have reached a bound.
    pub(super) fn full(&self, settings: &Settings) -> Option<HeldFull> {
        if !self.is_full(settings) {
            return None;
        }
        let (key, waiting) = self.keys.iter().max_by_key(|(_, waiting)| waiting.share(settings))?;
        let (key_records, key_bytes) = (waiting.tasks.len(), waiting.bytes);
        Some(HeldFull { records: self.records, bytes: self.bytes, key: key.clone(), key_records, key_bytes })
    }

    /// Makes the matching keys due now.
    pub(super) fn hasten(&mut self, now: Duration, is_such: impl Fn(&Key) -> bool) {
        for (_, waiting) in self.keys.iter_mut().filter(|(key, _)| is_such(key)) {
            waiting.due = waiting.due.min(now);
        }
    }

    /// When the first matching key is due.
    pub(super) fn earliest(&self, is_such: impl Fn(&Key) -> bool) -> Option<Duration> {
        self.keys.iter().filter(|(key, _)| is_such(key)).map(|(_, waiting)| waiting.due).min()
    }

    /// How many events of a key are held, and their bytes.
    pub(super) fn of(&self, key: &Key) -> (usize, usize) {
        self.keys.get(key).map_or((0, 0), |waiting| (waiting.tasks.len(), waiting.bytes))
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
