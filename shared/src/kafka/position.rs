//! The position of an event in the log, which decides which of two states is newer.

use time::{Duration, OffsetDateTime};

/// A record's position: topic, partition, offset, and when the broker appended it.
///
/// A redriven record has its original position (its `origin.` headers), not its current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The broker's append time (`LogAppendTime`), or its substitute ([`crate::kafka::Record::timestamp`]).
    pub appended_at: OffsetDateTime,
    /// Whether this is the original position of a redriven record, not the one where it was read.
    pub redriven: bool,
    /// Whether the producer's clock set the time (`CreateTime`), at most the time when the record was read.
    pub create_time: bool,
}

/// A recreated topic starts at offset 0 again. The records of the old topic are assumed to be more than this much
/// older.
pub(crate) const MADE_ANEW: Duration = Duration::minutes(1);

impl Position {
    /// The record's own position.
    pub fn new(topic: impl Into<String>, partition: i32, offset: i64, appended_at: OffsetDateTime) -> Self {
        Self { topic: topic.into(), partition, offset, appended_at, redriven: false, create_time: false }
    }

    /// Whether an event here is newer than a state that came from `other`.
    ///
    /// In one partition the greater offset is newer, and clocks do not matter, with one exception: if an event has a
    /// lower offset and an append time more than a minute later, the topic was recreated in between, and that event is
    /// newer. A record that was just read is in the current topic, so only a redriven record can be older despite a
    /// greater offset. Across partitions the later append time decides.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        if self.topic != other.topic || self.partition != other.partition {
            return self.appended_at > other.appended_at;
        }
        if self.offset > other.offset {
            !(self.redriven && other.appended_at - self.appended_at > MADE_ANEW)
        } else {
            self.appended_at - other.appended_at > MADE_ANEW
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(partition: i32, offset: i64, seconds: i64) -> Position {
        let appended_at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds);
        Position::new("t", partition, offset, appended_at)
    }

    fn redriven(position: Position) -> Position {
        Position { redriven: true, ..position }
    }

    #[test]
    fn the_rule() {
        assert!(at(0, 8, 0).is_newer_than(&at(0, 7, 0)));
        assert!(at(0, 8, 0).is_newer_than(&at(0, 7, 3600)), "a broker's clock went back: the log decides");
        assert!(!at(0, 7, 0).is_newer_than(&at(0, 7, 0)), "itself");
        assert!(!at(0, 7, 60).is_newer_than(&at(0, 8, 0)));
        assert!(at(0, 7, 61).is_newer_than(&at(0, 8, 0)), "the topic was made anew");
        assert!(!redriven(at(0, 8, 0)).is_newer_than(&at(0, 7, 61)), "redriven from the topic before");
        assert!(redriven(at(0, 8, 0)).is_newer_than(&at(0, 7, 60)));
        assert!(at(1, 0, 1).is_newer_than(&at(0, 99, 0)), "across partitions time decides");
        assert!(!at(1, 99, 0).is_newer_than(&at(0, 0, 0)));
        assert!(Position { topic: "u".into(), ..at(0, 0, 1) }.is_newer_than(&at(0, 99, 0)));
    }

    proptest! {
        #[test]
        fn of_two_redriven_ones_at_most_one_is_newer(
            a in (0..2, 0..4i64, 0..200i64), b in (0..2, 0..4i64, 0..200i64)
        ) {
            let (a, b) = (redriven(at(a.0, a.1, a.2)), redriven(at(b.0, b.1, b.2)));
            prop_assert!(!(a.is_newer_than(&b) && b.is_newer_than(&a)));
        }
    }
}
