//! How far behind a partition is: measured by `lag`, reported by health and CloudWatch.

use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PartitionLag {
    /// Readable records without their effect, up to the last log end that Kafka returned; `None` before the first.
    pub lag: Option<u64>,
    /// Whether Kafka does not return the log end now.
    pub is_unknown: bool,
    /// Whether the group took the partition without a revocation. This worker reports it, with the last known values,
    /// until it has rejoined the group: no other worker may be reporting it yet.
    pub is_lost: bool,
    /// How long the first of these records has been in the log, in seconds; 0 if there is none. By the broker's clock
    /// if the topic has LogAppendTime, and at least as long as this worker has known the record. While Kafka does not
    /// return the log end, counted from the last time that it did.
    pub watermark_age: f64,
    /// Whether it waits out an outage.
    pub waits: bool,
    /// Whether it waits for an operator.
    pub paused: bool,
    /// Offsets that wait for another producer's transaction.
    pub unstable: Option<Unstable>,
    /// How long it has stood still for no known reason.
    pub stalled: Option<Duration>,
    /// Keys that are held because they alone meet an outage-class error.
    pub held_alone: usize,
    /// Whether the next record cannot be read.
    pub unreadable: bool,
}

/// Offsets that wait for a transaction to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unstable {
    /// How many offsets.
    pub records: u64,
    /// The first of them, which belongs to the transaction.
    pub offset: i64,
    /// How long it has been the first, as far as this worker has seen.
    pub age: Duration,
}
