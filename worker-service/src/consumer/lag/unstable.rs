//! The records behind a partition's last stable offset: they cannot be read until a transaction ends. Pure.

use std::time::Duration;

use super::kafka_offsets::Ends;
use crate::observe::partition_lag::Unstable;

/// The transaction that holds up a partition, if one does.
#[derive(Debug, Default)]
pub(super) struct OpenTransaction(Option<Open>);

#[derive(Debug, Clone, Copy)]
struct Open {
    /// The first unstable offset, and since when.
    offset: i64,
    since: Duration,
    records: u64,
}

impl OpenTransaction {
    /// Evaluates a measurement of the partition. If the end of its log is unknown, the previous state stays.
    pub(super) fn look(&mut self, now: Duration, ends: Option<Ends>) -> Option<Unstable> {
        if let Some(Ends { stable, log: Some(log), .. }) = ends {
            let records = u64::try_from(log - stable).unwrap_or(0);
            let since = self.0.filter(|open| open.offset == stable).map_or(now, |open| open.since);
            self.0 = (records > 0).then_some(Open { offset: stable, since, records });
        }
        self.0.map(|Open { offset, since, records }| Unstable { records, offset, age: now.saturating_sub(since) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn its_age_is_that_of_the_first_offset_that_waits(
            looks in prop::collection::vec((0..3i64, 0..3i64, prop::option::weighted(0.9, Just(()))), 1..60)
        ) {
            let mut open = OpenTransaction::default();
            let (mut stable, mut since, mut waiting): (i64, Option<u64>, i64) = (0, None, 0);
            for (now, (step, unstable, told)) in (0..).zip(looks) {
                let log = told.map(|()| stable + step + unstable);
                let ends = Some(Ends { first: 0, stable: stable + step, log });
                let found = open.look(Duration::from_secs(now), ends);
                // Without an answer the state stays the same, and its age grows.
                if told.is_some() {
                    since = match since {
                        _ if unstable == 0 => None,
                        Some(since) if step == 0 => Some(since),
                        _ => Some(now),
                    };
                    stable += step;
                    waiting = unstable;
                }
                let expected = since.map(|since| Unstable {
                    records: waiting.unsigned_abs(),
                    offset: stable,
                    age: Duration::from_secs(now - since),
                });
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn the_end_that_is_known_may_be_older_than_the_stable_offset() {
        let ends = Some(Ends { first: 0, stable: 3, log: Some(2) });
        assert_eq!(OpenTransaction::default().look(Duration::ZERO, ends), None);
    }
}
