//! A batch that is being gathered, within its bounds.

use std::time::Duration;

use super::{Lane, Settings, Task};

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) tasks: Vec<Task>,
    bytes: usize,
}

impl Batch {
    /// Whether this one fits in too; the first one always does.
    pub(super) fn has_room(&self, task: &Task, settings: &Settings) -> bool {
        let full = self.tasks.len() >= settings.batch_records || self.bytes + task.size() > settings.batch_bytes;
        self.tasks.is_empty() || !full
    }

    pub(super) fn push(&mut self, task: Task) {
        self.bytes += task.size();
        self.tasks.push(task);
    }
}

impl Lane {
    /// The next batch of `ready`; events of held devices go to where their device waits. So do those of a device that is
    /// known to meet an outage alone, so that nobody else's fail with them.
    pub(super) fn gather(&mut self, now: Duration) -> Vec<Task> {
        let mut batch = Batch::default();
        while let Some(task) = self.ready.pop_front() {
            if self.is_tried_apart(task.device(), now) && self.holds_a_part() {
                self.ready.push_front(task);
                break;
            }
            if self.held.has(task.device()) {
                self.forget(task.size());
                self.held.append(task);
            } else if self.suspects_of_outage.is_alone(task.device()) {
                self.hold(task, now);
            } else if batch.has_room(&task, &self.settings) {
                batch.push(task);
            } else {
                self.ready.push_front(task);
                break;
            }
        }
        batch.tasks
    }
}
