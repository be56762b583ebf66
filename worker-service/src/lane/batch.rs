//! A batch that is being gathered, within its bounds.

use super::{Settings, Task};

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
