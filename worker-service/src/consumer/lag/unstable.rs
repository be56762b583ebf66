//! What lies behind a partition's last stable offset: records that cannot be read before a transaction ends, and all
//! that was appended behind them. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kafka_offsets::Ends;
use crate::observe::partition_lag::Unstable;

/// The transactions that hold up partitions: the first unstable offset of each, and since when.
#[derive(Debug, Default)]
pub(super) struct OpenTransactions(BTreeMap<i32, Open>);

#[derive(Debug, Clone, Copy)]
struct Open {
    offset: i64,
    since: Duration,
    records: u64,
}

impl Open {
    fn at(self, now: Duration) -> Unstable {
        Unstable { records: self.records, offset: self.offset, age: now.saturating_sub(self.since) }
    }
}

impl OpenTransactions {
    /// Looks at a partition. Where the end of its log is not known, nothing has changed.
    pub(super) fn look(&mut self, now: Duration, partition: i32, ends: Option<Ends>) -> Option<Unstable> {
        let Some(Ends { stable, log: Some(log), .. }) = ends else {
            return self.0.get(&partition).map(|open| open.at(now));
        };
        let records = u64::try_from(log - stable).unwrap_or(0);
        if records == 0 {
            self.0.remove(&partition);
            return None;
        }
        let open = self.0.entry(partition).or_insert(Open { offset: stable, since: now, records });
        if open.offset != stable {
            (open.offset, open.since) = (stable, now);
        }
        open.records = records;
        Some(open.at(now))
    }

    /// Forgets all but these partitions.
    pub(super) fn retain(&mut self, is_ours: impl Fn(i32) -> bool) {
        self.0.retain(|partition, _| is_ours(*partition));
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
            let mut open = OpenTransactions::default();
            let (mut stable, mut since, mut waiting): (i64, Option<u64>, i64) = (0, None, 0);
            for (now, (step, unstable, told)) in (0..).zip(looks) {
                let log = told.map(|()| stable + step + unstable);
                let ends = Some(Ends { first: 0, stable: stable + step, log });
                let found = open.look(Duration::from_secs(now), 7, ends);
                // Without an answer nothing has changed, and time goes by.
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
    fn of_partitions_that_went_nothing_is_kept() {
        let mut open = OpenTransactions::default();
        let ends = Some(Ends { first: 0, stable: 1, log: Some(2) });
        assert!(open.look(Duration::ZERO, 1, ends).is_some());
        open.retain(|partition| partition != 1);
        assert_eq!(open.look(Duration::from_secs(9), 1, ends).map(|found| found.age), Some(Duration::ZERO));
        // The end that is known may be older than the stable offset.
        assert_eq!(open.look(Duration::ZERO, 1, Some(Ends { first: 0, stable: 3, log: Some(2) })), None);
    }
}
