//! Devices that wait for another try, with all their events behind the one that failed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use shared::event::DeviceId;

use super::{Settings, Task};

/// So much is held that nothing more comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFull {
    /// Held records.
    pub records: usize,
    /// And their bytes.
    pub bytes: usize,
    /// The device that holds the most of them.
    pub device: DeviceId,
    /// How many.
    pub device_records: usize,
    /// And their bytes.
    pub device_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    devices: HashMap<DeviceId, Waiting>,
    records: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: VecDeque<Task>,
    bytes: usize,
    due: Duration,
    /// So many of the first ones are tried one by one.
    singly: usize,
}

impl Waiting {
    /// How much it holds of what may be held, in records or bytes: to be compared.
    fn share(&self, settings: &Settings) -> u128 {
        let times = |amount: usize, other: usize| (amount as u128).saturating_mul(other as u128);
        times(self.tasks.len(), settings.held_bytes).max(times(self.bytes, settings.held_records))
    }
}

impl Held {
    pub(super) fn has(&self, device: &DeviceId) -> bool {
        !self.devices.is_empty() && self.devices.contains_key(device)
    }

    /// Holds a device until then, with these events before those of it that are held.
    pub(super) fn put_first(&mut self, device: DeviceId, tasks: VecDeque<Task>, due: Duration) {
        let waiting = self.devices.entry(device).or_default();
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

    /// So many of the first ones of a device are tried one by one.
    pub(super) fn try_singly(&mut self, device: &DeviceId, singly: usize) {
        if let Some(waiting) = self.devices.get_mut(device) {
            waiting.singly = singly;
        }
    }

    /// Whether the next one of a device is tried alone, and the rest stays held meanwhile.
    pub(super) fn is_apart(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|waiting| waiting.singly > 0)
    }

    /// The same, and its time has come.
    pub(super) fn is_apart_and_due(&self, device: &DeviceId, now: Duration) -> bool {
        self.devices.get(device).is_some_and(|waiting| waiting.singly > 0 && waiting.due <= now)
    }

    /// How much is held of the devices that are tried apart, and are such ones, in records and bytes.
    pub(super) fn apart(&self, is_such: impl Fn(&DeviceId) -> bool) -> (usize, usize) {
        let apart = self.devices.iter().filter(|(device, waiting)| waiting.singly > 0 && is_such(device));
        apart.fold((0, 0), |(records, bytes), (_, waiting)| (records + waiting.tasks.len(), bytes + waiting.bytes))
    }

    /// The first event of a device, of which the rest stays held. Those whose time came before have theirs first next.
    pub(super) fn take_first(&mut self, device: &DeviceId, now: Duration) -> Option<Task> {
        let waiting = self.devices.get_mut(device)?;
        let task = waiting.tasks.pop_front()?;
        waiting.singly = waiting.singly.saturating_sub(1);
        waiting.bytes -= task.size();
        waiting.due = now;
        self.records -= 1;
        self.bytes -= task.size();
        if waiting.tasks.is_empty() {
            self.devices.remove(device);
        }
        Some(task)
    }

    /// Adds an event behind those of its device, which is held.
    pub(super) fn append(&mut self, task: Task) {
        if let Some(waiting) = self.devices.get_mut(task.device()) {
            self.records += 1;
            self.bytes += task.size();
            waiting.bytes += task.size();
            waiting.tasks.push_back(task);
        }
    }

    /// Of the devices whose time has come, and that are such ones, the one whose time came first.
    pub(super) fn first_due(&self, now: Duration, is_such: impl Fn(&DeviceId) -> bool) -> Option<&DeviceId> {
        let due = self.devices.iter().filter(|(device, waiting)| waiting.due <= now && is_such(device));
        due.min_by_key(|(_, waiting)| waiting.due).map(|(device, _)| device)
    }

    /// Of the same ones those that hold the most: half as much of the bounds as the first at least.
    pub(super) fn largest_due(
        &self,
        now: Duration,
        settings: &Settings,
        is_such: impl Fn(&DeviceId) -> bool,
    ) -> impl Iterator<Item = (&DeviceId, u128)> {
        let due = self.devices.iter().filter(move |(device, waiting)| waiting.due <= now && is_such(device));
        let due: Vec<_> = due.map(|(device, waiting)| (device, waiting.share(settings))).collect();
        let most = due.iter().map(|(_, share)| *share).max().unwrap_or_default();
        due.into_iter().filter(move |(_, share)| 2 * share >= most)
    }

    /// The events of a device, which is held no longer.
    pub(super) fn take(&mut self, device: &DeviceId) -> Option<VecDeque<Task>> {
        let waiting = self.devices.remove(device)?;
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
        let (device, waiting) = self.devices.iter().max_by_key(|(_, waiting)| waiting.share(settings))?;
        let (device_records, device_bytes) = (waiting.tasks.len(), waiting.bytes);
        Some(HeldFull {
            records: self.records,
            bytes: self.bytes,
            device: device.clone(),
            device_records,
            device_bytes,
        })
    }

    /// The time of such devices has come.
    pub(super) fn hasten(&mut self, now: Duration, is_such: impl Fn(&DeviceId) -> bool) {
        for (_, waiting) in self.devices.iter_mut().filter(|(device, _)| is_such(device)) {
            waiting.due = waiting.due.min(now);
        }
    }

    /// When the time of the first such device comes.
    pub(super) fn earliest(&self, is_such: impl Fn(&DeviceId) -> bool) -> Option<Duration> {
        self.devices.iter().filter(|(device, _)| is_such(device)).map(|(_, waiting)| waiting.due).min()
    }

    /// How many events of a device are held, and their bytes.
    pub(super) fn of(&self, device: &DeviceId) -> (usize, usize) {
        self.devices.get(device).map_or((0, 0), |waiting| (waiting.tasks.len(), waiting.bytes))
    }

    pub(super) fn devices(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
