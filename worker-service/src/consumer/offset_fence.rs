//! Fences in a topic: the ends of all its partitions at a time. Once a group has committed past all of them, every
//! record that Kafka had acknowledged by that time has been applied, or is a dead letter.
//!
//! "Not passed" may be wrong for a while, and costs only time; "passed" is never wrong. So every doubt means "not
//! passed": Kafka gives no answer, a partition has records and no commit, or a commit is beyond the end of the log.
//! Records of an open transaction are before the end, and the group passes them when the transaction has ended.

mod client;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::client::OffsetFences;

/// What Kafka returned about a topic and a group. Of each partition, the committed offset was read before the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offsets(BTreeMap<i32, PartitionOffsets>);

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartitionOffsets {
    /// The group's committed offset; `None` without one.
    committed: Option<i64>,
    /// The end of the log, behind the records of open transactions.
    end: i64,
}

/// A fence. It is valid for the log in which it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFence(BTreeMap<i32, i64>);

/// Whether a group has passed a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceState {
    /// It has committed past all ends: every record before the fence has been applied, or is a dead letter.
    Passed,
    /// Not yet, as far as Kafka says.
    Waiting,
    /// The topic has other partitions or a shorter log than when the fence was taken: it was recreated, or has got
    /// more partitions, one of which may have had records that the fence does not include. Take another fence.
    Void,
}

impl Offsets {
    /// Those of partitions from 0 on: the committed offset, and the end.
    #[cfg(test)]
    pub(crate) fn of(partitions: &[(Option<i64>, i64)]) -> Self {
        let found = |(committed, end): &(Option<i64>, i64)| PartitionOffsets { committed: *committed, end: *end };
        Self((0..).zip(partitions.iter().map(found)).collect())
    }

    /// A fence at the ends of the partitions.
    pub fn fence(&self) -> OffsetFence {
        OffsetFence(self.0.iter().map(|(partition, found)| (*partition, found.end)).collect())
    }
}

impl OffsetFence {
    /// Whether the group had passed it when these offsets were read. They may be those that it was taken from.
    pub fn state(&self, now: &Offsets) -> FenceState {
        let is_other_log = |(partition, end): (&i32, &i64)| now.0.get(partition).is_none_or(|found| found.end < *end);
        if now.0.len() != self.0.len() || self.0.iter().any(is_other_log) {
            return FenceState::Void;
        }
        let is_passed = |(partition, end): (&i32, &i64)| now.0.get(partition).is_some_and(|found| found.is_past(*end));
        if self.0.iter().all(is_passed) { FenceState::Passed } else { FenceState::Waiting }
    }
}

impl PartitionOffsets {
    /// Whether the group has committed past this end. Nobody commits in a partition that never had a record. A commit
    /// beyond the end of the log was made in an earlier log: the topic was recreated, and the group has not read this
    /// one.
    fn is_past(self, end: i64) -> bool {
        end == 0 || self.committed.is_some_and(|committed| (end..=self.end).contains(&committed))
    }
}
