//! An event on its way.

use shared::event::DeviceId;
use shared::topic::{Decoded, Record};

/// An event on its way.
#[derive(Debug, Clone)]
pub struct Task {
    /// The record, kept for a dead letter.
    pub record: Record,
    /// The event in it.
    pub decoded: Decoded,
    /// How often it failed on its own.
    pub attempts: u32,
}

impl Task {
    pub(super) fn device(&self) -> &DeviceId {
        &self.decoded.event.device_id
    }

    pub(super) fn size(&self) -> usize {
        self.record.size() + size_of::<Self>()
    }
}
