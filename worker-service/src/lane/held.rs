//! Devices that wait for another try, with all their events behind the one that failed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use shared::event::DeviceId;

use super::Task;

#[derive(Debug, Default)]
pub(super) struct Held {
    devices: HashMap<DeviceId, Waiting>,
    records: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    tasks: VecDeque<Task>,
    due: Duration,
}

impl Held {
    pub(super) fn has(&self, device: &DeviceId) -> bool {
        !self.devices.is_empty() && self.devices.contains_key(device)
    }

    pub(super) fn insert(&mut self, device: DeviceId, tasks: VecDeque<Task>, due: Duration) {
        self.records += tasks.len();
        self.bytes += tasks.iter().map(Task::size).sum::<usize>();
        self.devices.insert(device, Waiting { tasks, due });
    }

    /// Adds an event behind those of its device, which is held.
    pub(super) fn append(&mut self, task: Task) {
        if let Some(waiting) = self.devices.get_mut(task.device()) {
            self.records += 1;
            self.bytes += task.size();
            waiting.tasks.push_back(task);
        }
    }

    /// The events of such a device whose time has come, the first one.
    pub(super) fn take_due(&mut self, now: Duration, is_such: impl Fn(&DeviceId) -> bool) -> Option<VecDeque<Task>> {
        let due = self.devices.iter().filter(|(device, waiting)| waiting.due <= now && is_such(device));
        let device = due.min_by_key(|(_, waiting)| waiting.due).map(|(device, _)| device.clone())?;
        let waiting = self.devices.remove(&device)?;
        self.records -= waiting.tasks.len();
        self.bytes -= waiting.tasks.iter().map(Task::size).sum::<usize>();
        Some(waiting.tasks)
    }

    /// When the time of the first such device comes.
    pub(super) fn earliest(&self, is_such: impl Fn(&DeviceId) -> bool) -> Option<Duration> {
        self.devices.iter().filter(|(device, _)| is_such(device)).map(|(_, waiting)| waiting.due).min()
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
