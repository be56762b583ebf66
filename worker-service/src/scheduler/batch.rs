//! Builds the next batch, within its bounds.

use std::time::Duration;

use super::{Scheduler, Settings, Task};

#[derive(Debug)]
pub(super) struct Batch<E> {
    pub(super) tasks: Vec<Task<E>>,
    bytes: usize,
}

impl<E> Default for Batch<E> {
    fn default() -> Self {
        Self { tasks: Vec::new(), bytes: 0 }
    }
}

impl<E> Batch<E> {
    /// Whether this task still fits; the first one always does.
    pub(super) fn has_room(&self, task: &Task<E>, settings: &Settings) -> bool {
        let full = self.tasks.len() >= settings.batch_records || self.bytes + task.size() > settings.batch_bytes;
        self.tasks.is_empty() || !full
    }

    pub(super) fn push(&mut self, task: Task<E>) {
        self.bytes += task.size();
        self.tasks.push(task);
    }
}

impl<E> Scheduler<E> {
    /// The next batch of `ready`. Events of held keys join their key in `held`. So do events of a key that is known to
    /// meet an outage alone, so that they do not make the events of other keys fail.
    pub(super) fn gather(&mut self, now: Duration) -> Vec<Task<E>> {
        let mut batch = Batch::default();
        while let Some(task) = self.ready.pop_front() {
            if self.is_tried_apart(task.key(), now) && self.holds_a_part() {
                self.ready.push_front(task);
                break;
            }
            if self.held.has(task.key()) {
                self.release(task.size());
                self.held.append(task);
            } else if self.suspects_of_outage.is_alone(task.key()) {
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
