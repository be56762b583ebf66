//! Batches whose offsets are not consecutive. A broker assigns a batch as many offsets as it has records, but keeps the
//! offset that the producer wrote into each record: two records may have the same one, or one may have an offset after
//! the batch's end. librdkafka trusts these, and fetches from the offset after the last record. If the log does not
//! reach that offset yet, the broker rejects it, and the client resets to the beginning of the partition, repeatedly.
//!
//! Records of the same batch have the same append time. Pure.

use std::ops::Range;

use time::OffsetDateTime;

/// The offsets within the batch that the last record belongs to.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    appended_at: Option<OffsetDateTime>,
    /// How many records repeat an earlier offset. As many of the batch's offsets have no record.
    repeated: i64,
    jump: Option<Jump>,
    /// The offset that the client was last sent back to, and how often in a row; `None` once a record came from there.
    returned: Option<(i64, u32)>,
}

/// How often the client is sent back to the same offset. While it cannot find an offset, it asks repeatedly, and a late
/// answer may reset it after the seek, which is then lost. After this many times, there must be another cause.
const RETURNS: u32 = 10;

/// Offsets that a batch seems to leave out. They are a gap only if the log continues behind them.
#[derive(Debug)]
struct Jump {
    gap: Range<i64>,
    /// Where the batch would end if its offsets were consecutive.
    end: i64,
}

/// The step from one record to the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Gap,
    /// The log continues at an earlier offset: the topic was recreated, or has lost its end.
    Back,
    /// The offsets of a batch are not consecutive: the record follows the one before it.
    Unordered,
    /// As [`Self::Unordered`], and the client was reset: it has to seek to this offset.
    Elsewhere(i64),
}

impl Numbers {
    /// The next record has a later offset than expected. Returns whether that is explained already or may be explained
    /// by a later record, so that it is no gap yet.
    pub(super) fn forward(&mut self, expected: i64, offset: i64, appended_at: Option<OffsetDateTime>) -> bool {
        let missing = offset - expected;
        if missing <= self.repeated {
            self.repeated -= missing;
            return true;
        }
        let is_within = appended_at.is_some() && self.appended_at == appended_at && self.jump.is_none();
        if is_within {
            // The record itself is counted when it is noted.
            self.jump = Some(Jump { gap: expected..offset, end: expected });
        }
        is_within
    }

    /// Notes a record at or after the expected offset. If it begins a new batch, returns the offsets that the previous
    /// batch left out.
    pub(super) fn go_on(&mut self, appended_at: Option<OffsetDateTime>) -> Option<Range<i64>> {
        self.returned = None;
        if self.appended_at == appended_at {
            if let Some(jump) = &mut self.jump {
                jump.end += 1;
            }
            return None;
        }
        let before = std::mem::replace(self, Self { appended_at, ..Self::default() });
        before.jump.map(|jump| jump.gap)
    }

    /// Whether the last batch seems to have left out offsets.
    pub(super) fn is_open(&self) -> bool {
        self.jump.is_some()
    }

    /// Returns these offsets without waiting for the next batch.
    pub(super) fn close(&mut self) -> Option<Range<i64>> {
        self.jump.take().map(|jump| jump.gap)
    }

    /// The client was sent back to this offset.
    pub(super) fn returned(&mut self, to: i64) {
        let before = self.returned.filter(|(before, _)| *before == to).map_or(0, |(_, times)| times);
        self.returned = Some((to, before + 1));
    }

    /// A record has an earlier offset than expected. It is noted when it is read again.
    pub(super) fn back(&mut self, offset: i64, appended_at: Option<OffsetDateTime>) -> Step {
        if let Some((to, _)) = self.returned.filter(|(to, times)| offset < *to && *times < RETURNS) {
            return Step::Elsewhere(to);
        }
        let is_within = appended_at.is_some() && self.appended_at == appended_at;
        match self.jump.take() {
            // The next batch begins here.
            Some(jump) if offset == jump.end => Step::Unordered,
            Some(jump) if is_within && jump.gap.start <= offset => {
                self.jump = Some(jump);
                Step::Unordered
            }
            Some(jump) => Step::Elsewhere(jump.end),
            None if is_within => {
                self.repeated += 1;
                Step::Unordered
            }
            None => Step::Back,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gaps::Gaps;
    use super::super::offset_tracker::OffsetTracker;
    use super::*;
    use shared::kafka::Record;

    fn at(offset: i64, second: i64) -> Record {
        let mut record = Record::new(None, None, &[]);
        (record.offset, record.timestamp) = (offset, OffsetDateTime::from_unix_timestamp(second).unwrap());
        record.create_time = second == 0;
        record
    }

    /// The steps for records with these offsets and times, from offset 0 on. A record that goes back is read again once
    /// all earlier ones are finished.
    fn steps(log: &[(i64, i64)]) -> Vec<String> {
        let mut gaps = Gaps::new("g".into(), 0);
        let mut tracker = OffsetTracker::new(Some(0), &mut gaps);
        let mut step = |&(offset, second): &(i64, i64)| {
            let told = match tracker.step_to(&at(offset, second)) {
                Step::Next => "next".to_owned(),
                Step::Gap => "gap".to_owned(),
                Step::Back => "back".to_owned(),
                Step::Unordered => "unordered".to_owned(),
                Step::Elsewhere(to) => {
                    assert_eq!(tracker.return_to, Some(to));
                    tracker.returned(to);
                    return format!("to {to}");
                }
            };
            if tracker.expected.is_none() {
                assert!(matches!(tracker.step_to(&at(offset, second)), Step::Next));
            }
            told
        };
        log.iter().map(&mut step).collect()
    }

    #[test]
    fn offsets_that_a_batch_has_twice_explain_those_that_it_has_not() {
        assert_eq!(steps(&[(0, 5), (0, 5), (2, 6)]), ["next", "unordered", "next"]);
        let twice = [(0, 5), (0, 5), (1, 5), (1, 5), (4, 6), (6, 7)];
        assert_eq!(steps(&twice), ["next", "unordered", "next", "unordered", "next", "gap"]);
        assert_eq!(steps(&[(0, 5), (0, 5), (3, 6)])[2], "gap", "one more is missing");
        assert_eq!(steps(&[(0, 5), (0, 5), (1, 6), (3, 7)])[3], "gap", "of another batch");
        assert_eq!(steps(&[(0, 5), (1, 5), (0, 6)])[2], "back");
        assert_eq!(steps(&[(0, 0), (0, 0)])[1], "back", "a producer's time tells nothing");
    }

    #[test]
    fn a_later_offset_than_the_batch_has_is_gone_back_from() {
        // The next batch came in the same response.
        assert_eq!(steps(&[(0, 5), (5, 5), (2, 6), (3, 7)]), ["next", "next", "unordered", "next"]);
        // The client was sent to the beginning.
        assert_eq!(steps(&[(0, 4), (1, 5), (6, 5), (0, 4), (3, 6)]), ["next", "next", "next", "to 3", "next"]);
        assert_eq!(steps(&[(0, 5), (5, 5), (0, 5), (2, 6)]), ["next", "next", "to 2", "next"]);
        assert_eq!(steps(&[(0, 4), (1, 5), (6, 5), (7, 5), (0, 4)])[4], "to 4");
    }

    #[test]
    fn where_the_client_does_not_stay_where_it_was_sent_it_is_sent_again() {
        let log = [(0, 4), (1, 5), (6, 5), (0, 4), (0, 4), (0, 4), (3, 6), (9, 6), (0, 4)];
        let there = ["next", "next", "next", "to 3", "to 3", "to 3", "next", "next", "to 5"];
        assert_eq!(steps(&log), there);
        // There is another cause: the log no longer reaches that far.
        let mut log = vec![(0, 4), (1, 5), (6, 5)];
        log.extend([(0, 7); 11]);
        let steps = steps(&log);
        assert!(steps[3..13].iter().all(|step| step == "to 3"), "{steps:?}");
        assert_eq!(steps[13], "back");
    }

    #[test]
    fn what_a_batch_leaves_out_is_a_gap_where_the_log_goes_on_behind_it() {
        let mut numbers = Numbers::default();
        let time = |second| OffsetDateTime::from_unix_timestamp(second).ok();
        assert_eq!(numbers.go_on(time(5)), None);
        assert!(numbers.forward(1, 5, time(5)));
        assert_eq!(numbers.go_on(time(5)), None);
        assert_eq!(numbers.go_on(time(6)), Some(1..5));
        assert!(!numbers.forward(7, 9, time(8)), "between batches it is one at once");
    }
}
