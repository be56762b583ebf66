//! How far a partition is finished, although its records finish out of order.

use std::collections::BTreeMap;

use time::OffsetDateTime;

/// Stores only the unfinished offsets, so its memory does not grow with the records that finished behind them.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// The value is the record's time if the broker set it, to report how long the record has been waiting.
    unfinished: BTreeMap<i64, Option<OffsetDateTime>>,
    /// The offset after the last record that came in, or a later one if no record stands between.
    pub(super) end: Option<i64>,
}

impl Watermark {
    pub(super) fn begin(&mut self, offset: i64, timestamp: Option<OffsetDateTime>) {
        self.unfinished.insert(offset, timestamp);
        self.end = self.end.max(Some(offset + 1));
    }

    /// No more records come in before this offset.
    pub(super) fn reach(&mut self, offset: i64) {
        self.end = self.end.max(Some(offset));
    }

    pub(super) fn finish(&mut self, offset: i64) {
        self.unfinished.remove(&offset);
    }

    /// Whether every record is finished.
    pub(super) fn is_whole(&self) -> bool {
        self.unfinished.is_empty()
    }

    pub(super) fn get(&self) -> Option<i64> {
        self.unfinished.first_key_value().map(|(offset, _)| *offset).or(self.end)
    }

    /// The time of the first unfinished record, if the broker set it.
    pub(super) fn waiting_since(&self) -> Option<OffsetDateTime> {
        self.unfinished.first_key_value().and_then(|(_, timestamp)| *timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_first_unfinished_offset_or_the_end(
            steps in prop::collection::vec(1..4i64, 1..40), order in any::<u64>()
        ) {
            let offsets: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let mut watermark = Watermark::default();
            prop_assert_eq!(watermark.get(), None);
            for &offset in &offsets {
                // The time of every third record is set by its producer.
                let time = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(offset);
                watermark.begin(offset, (offset % 3 > 0).then_some(time));
            }
            let mut left = offsets.clone();
            let mut random = fastrand::Rng::with_seed(order);
            while !left.is_empty() {
                let first = left.iter().min().copied();
                prop_assert_eq!(watermark.get(), first);
                let time = first.filter(|first| first % 3 > 0);
                prop_assert_eq!(watermark.waiting_since().map(OffsetDateTime::unix_timestamp), time);
                let offset = left.swap_remove(random.usize(..left.len()));
                watermark.finish(offset);
            }
            prop_assert_eq!(watermark.get(), offsets.last().map(|last| last + 1));
            prop_assert_eq!(watermark.waiting_since(), None);
        }

        #[test]
        fn it_goes_past_what_is_no_record_and_never_past_one(
            steps in prop::collection::vec((any::<bool>(), 1..4i64), 1..40)
        ) {
            let mut watermark = Watermark::default();
            let (mut at, mut first) = (0, None);
            for (is_record, step) in steps {
                if is_record {
                    at += step;
                    watermark.begin(at - 1, None);
                    first.get_or_insert(at - 1);
                } else {
                    watermark.reach(at + step);
                    watermark.reach(at);
                    at += step;
                }
                prop_assert_eq!(watermark.get(), Some(first.unwrap_or(at)));
            }
            while let Some(offset) = watermark.unfinished.first_key_value().map(|(offset, _)| *offset) {
                watermark.finish(offset);
            }
            prop_assert_eq!(watermark.get(), Some(at));
        }
    }
}
