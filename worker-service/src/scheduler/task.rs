//! An event that the scheduler works on.

use shared::kafka::ids::Key;
use shared::kafka::{Delivery, Record};

/// An event that the scheduler works on, with its record.
#[derive(Debug, Clone)]
pub struct Task<E> {
    /// The record, kept for a dead letter.
    pub record: Record,
    pub delivery: Delivery<E>,
    /// How often it failed on its own.
    pub attempts: u32,
}

impl<E> Task<E> {
    pub(super) fn key(&self) -> &Key {
        &self.delivery.envelope.key
    }

    pub(super) fn size(&self) -> usize {
        self.record.size() + size_of::<Self>()
    }
}
