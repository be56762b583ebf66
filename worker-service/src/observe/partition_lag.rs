//! How far behind a partition is: what `lag` measures, and health and CloudWatch tell.

use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PartitionLag {
    /// Records that can be read and are without their effect, as far as is known: as many as there were when Kafka last
    /// said where the partition ends; none before it did.
    pub lag: Option<u64>,
    /// Whether Kafka did not say now where it ends.
    pub is_unknown: bool,
    /// Whether the group took it from this worker without having been told by it: until the worker is in the group
    /// again, nobody else may tell of it.
    pub is_lost: bool,
    /// How long the first of them has been in the log, in seconds; 0 where there is none. By the broker's clock where that
    /// was told, and at least for as long as this worker has known it to be there. Where Kafka does not say where the
    /// partition ends, there may be one since it last did.
    pub watermark_age: f64,
    /// Whether it waits out an outage.
    pub waits: bool,
    /// Whether it waits for an operator.
    pub paused: bool,
    /// What waits for a transaction of somebody else's.
    pub unstable: Option<Unstable>,
    /// For how long it has stood still for no reason.
    pub stalled: Option<Duration>,
    /// Keys that are held because they alone meet what would be an outage.
    pub held_alone: usize,
    /// Whether it stands before what cannot be read.
    pub unreadable: bool,
}

/// What waits for a transaction to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unstable {
    /// How many offsets of the log.
    pub records: u64,
    /// The first of them: the transaction's own.
    pub offset: i64,
    /// For how long this has been the first, as far as this worker has seen.
    pub age: Duration,
}
