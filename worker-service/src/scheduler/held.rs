//! Keys that wait for another try, with all their events behind the one that failed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use shared::kafka::ids::Key;

use super::{Settings, Task};

/// So much is held that nothing more comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFull {
    pub records: usize,
    pub bytes: usize,
    /// The key that holds the most of them.
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
    /// So many of the first ones are tried one by one.
    singly: usize,
}

impl<E> Waiting<E> {
    /// How much it holds of what may be held, in records or bytes: to be compared.
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

    /// Holds a key until then, with these events before those of it that are held.
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

    /// So many of the first ones of a key are tried one by one.
    pub(super) fn try_singly(&mut self, key: &Key, singly: usize) {
        if let Some(waiting) = self.keys.get_mut(key) {
            waiting.singly = singly;
        }
    }

    /// Whether the next one of a key is tried alone, and the rest stays held meanwhile.
    pub(super) fn is_apart(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|waiting| waiting.singly > 0)
    }

    /// The same, and its time has come.
    pub(super) fn is_apart_and_due(&self, key: &Key, now: Duration) -> bool {
        self.keys.get(key).is_some_and(|waiting| waiting.singly > 0 && waiting.due <= now)
    }

    /// How much is held of the keys that are tried apart, and are such ones, in records and bytes.
    pub(super) fn apart(&self, is_such: impl Fn(&Key) -> bool) -> (usize, usize) {
        let apart = self.keys.iter().filter(|(key, waiting)| waiting.singly > 0 && is_such(key));
        apart.fold((0, 0), |(records, bytes), (_, waiting)| (records + waiting.tasks.len(), bytes + waiting.bytes))
    }

    /// The first event of a key, of which the rest stays held. Those whose time came before have theirs first next.
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

    /// Adds an event behind those of its key, which is held.
    pub(super) fn append(&mut self, task: Task<E>) {
        if let Some(waiting) = self.keys.get_mut(task.key()) {
            self.records += 1;
            self.bytes += task.size();
            waiting.bytes += task.size();
            waiting.tasks.push_back(task);
        }
    }

    /// Of the keys whose time has come, and that are such ones, the one whose time came first.
    pub(super) fn first_due(&self, now: Duration, is_such: impl Fn(&Key) -> bool) -> Option<&Key> {
        let due = self.keys.iter().filter(|(key, waiting)| waiting.due <= now && is_such(key));
        due.min_by_key(|(_, waiting)| waiting.due).map(|(key, _)| key)
    }

    /// Of the same ones those that hold the most: half as much of the bounds as the first at least.
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

    /// The events of a key, which is held no longer.
    pub(super) fn take(&mut self, key: &Key) -> Option<VecDeque<Task<E>>> {
        let waiting = self.keys.remove(key)?;
        self.records -= waiting.tasks.len();
        self.bytes -= waiting.bytes;
        Some(waiting.tasks)
    }

    /// Whether so much is held that nothing more comes in.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        self.records >= settings.held_records || self.bytes >= settings.held_bytes
    }

    /// What is held, where it is so much.
    pub(super) fn full(&self, settings: &Settings) -> Option<HeldFull> {
        if !self.is_full(settings) {
            return None;
        }
        let (key, waiting) = self.keys.iter().max_by_key(|(_, waiting)| waiting.share(settings))?;
        let (key_records, key_bytes) = (waiting.tasks.len(), waiting.bytes);
        Some(HeldFull { records: self.records, bytes: self.bytes, key: key.clone(), key_records, key_bytes })
    }

    /// The time of such keys has come.
    pub(super) fn hasten(&mut self, now: Duration, is_such: impl Fn(&Key) -> bool) {
        for (_, waiting) in self.keys.iter_mut().filter(|(key, _)| is_such(key)) {
            waiting.due = waiting.due.min(now);
        }
    }

    /// When the time of the first such key comes.
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
