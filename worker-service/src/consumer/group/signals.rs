//! What a partition's runner shares with those who look at it from outside: the group, and the measurement of
//! its lag.

use std::sync::atomic::{AtomicI64, AtomicU64};

use tokio::sync::Notify;

/// Offsets, and the request to begin anew. An offset that is not known is negative.
#[derive(Debug)]
pub struct Signals {
    /// The last offset that Kafka is known to hold for the group.
    pub committed: AtomicI64,
    /// The last offset that was stored for the group's next commit.
    pub stored: AtomicI64,
    /// Up to where the partition can be read, as it was measured last: its last stable offset.
    pub stable_end: AtomicI64,
    /// Up to where it was told that an operator had the group go past records.
    pub skipped_to: AtomicI64,
    /// Asks the runner to drop what it does and to begin anew from what is stored.
    pub begin_anew: Notify,
    /// How often it did so.
    pub begun_anew: AtomicU64,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            committed: AtomicI64::new(-1),
            stored: AtomicI64::new(-1),
            stable_end: AtomicI64::new(-1),
            skipped_to: AtomicI64::new(-1),
            begin_anew: Notify::new(),
            begun_anew: AtomicU64::new(0),
        }
    }
}
