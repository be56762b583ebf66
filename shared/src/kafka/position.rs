//! Where in the log an event stands: what decides which of two states is the newer one.

use time::{Duration, OffsetDateTime};

/// A record's place: topic, partition, offset, and when the broker appended it.
///
/// A redriven record has the position of its first appearance (its `origin.` headers), not the
/// one where it lies now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The broker's append time (`LogAppendTime`), or what stands for it ([`crate::kafka::Record`]).
    pub appended_at: OffsetDateTime,
    /// Whether this is where a redriven record first stood, and not where it was read now.
    pub redriven: bool,
    /// Whether the time is its producer's word (`CreateTime`), as far as that was not ahead.
    pub create_time: bool,
}

/// A topic that was made anew starts at offset 0 again; records of the old one were appended at
/// least this much earlier.
pub(crate) const MADE_ANEW: Duration = Duration::minutes(1);

impl Position {
    /// A record's own place.
    pub fn new(topic: impl Into<String>, partition: i32, offset: i64, appended_at: OffsetDateTime) -> Self {
        Self { topic: topic.into(), partition, offset, appended_at, redriven: false, create_time: false }
    }

    /// Whether an event here is newer than a state that came from `other`.
    ///
    /// In one partition the greater offset is newer, and clocks do not matter, with one exception:
    /// where the later append time is over a minute later and the offset lower, the topic was made
    /// anew in between. A record that was just read is in today's topic, so only a redriven one
    /// can be the older of such a pair in spite of its greater offset. Across partitions the later
    /// append time decides.
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
