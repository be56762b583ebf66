//! A partition whose next batch cannot be read.

use std::time::{Duration, Instant};

use super::GroupHealth;

/// How often this is logged while it lasts.
const TELL_INTERVAL: Duration = Duration::from_secs(300);
/// The client tries again twice a second, so it is over after this time without another error.
const OVER: Duration = Duration::from_secs(30);

/// The batch and the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The offset that is expected next. The batch is there, or behind offsets without a record. `None` if nothing of
    /// the partition was read or committed yet: then it is the first batch.
    pub offset: Option<i64>,
    pub error: String,
    pub since: Instant,
    seen: Instant,
    told: Instant,
}

impl Unreadable {
    pub(crate) fn new(offset: Option<i64>, error: String, now: Instant) -> Self {
        Self { offset, error, since: now, seen: now, told: now }
    }

    /// The error occurred again at the same offset. Returns whether to log it.
    pub(super) fn again(&mut self, now: Instant) -> bool {
        self.seen = now;
        let is_due = now.saturating_duration_since(self.told) >= TELL_INTERVAL;
        if is_due {
            self.told = now;
        }
        is_due
    }

    /// Whether the client has not reported the error for long.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) >= OVER
    }
}

impl GroupHealth {
    /// The client cannot read the batch at this offset or behind it. Called each time that it tries.
    pub fn cannot_read(&self, partition: i32, offset: Option<i64>, error: String) {
        let (mut state, now) = (self.state(), Instant::now());
        let known = state.partitions.entry(partition).or_default();
        let is_told = match &mut known.unreadable {
            Some(unreadable) if unreadable.offset == offset => unreadable.again(now),
            other => {
                *other = Some(Unreadable::new(offset, error.clone(), now));
                true
            }
        };
        if is_told {
            tracing::error!(
                group = self.group(),
                partition,
                offset,
                error,
                "a batch of records cannot be read: the partition stands still until `worker-service seek \
                 --past-unreadable`"
            );
        }
    }

    /// A record of the partition came in.
    pub fn can_read(&self, partition: i32) {
        let mut state = self.state();
        if state.partitions.get_mut(&partition).and_then(|known| known.unreadable.take()).is_some() {
            tracing::info!(group = self.group(), partition, "the partition can be read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::tests::status;
    use super::*;
    use crate::observe::partition_lag::PartitionLag;
    use crate::scheduler::{Scheduler, Settings};

    #[test]
    fn it_is_told_now_and_then_and_is_over_when_it_is_not_met_again() {
        let began = Instant::now();
        let mut unreadable = Unreadable::new(Some(7), "bad".to_owned(), began);
        // Half an hour of errors, two per second.
        let told = (0..3_600).filter(|n| unreadable.again(began + Duration::from_millis(500 * n))).count();
        assert_eq!(told, 5, "beside the first time");
        let last = began + Duration::from_millis(500 * 3_599);
        assert!(!unreadable.is_over(last + Duration::from_secs(29)));
        assert!(unreadable.is_over(last + Duration::from_secs(30)));
        assert_eq!(unreadable.since, began);
    }

    #[test]
    fn what_cannot_be_read_is_named_until_a_record_comes() {
        let health = GroupHealth::new("g");
        health.joined();
        health.begun(3, Some(7));
        let unreadable = || health.report().1["partitions"]["3"]["unreadable"].clone();
        assert_eq!((status(&health), unreadable()), ((true, "ready".into()), json!(null)));
        health.cannot_read(3, Some(9), "bad".into());
        health.cannot_read(3, Some(9), "bad".into());
        health.update(3, &Scheduler::<()>::new(Settings::default(), 1), Instant::now());
        assert_eq!(status(&health), (false, "a partition cannot be read".into()));
        assert_eq!(unreadable(), json!({"offset": 9, "error": "bad", "seconds": 0}));
        health.measured(&BTreeMap::from([(3, PartitionLag::default())]));
        assert!(!unreadable().is_null(), "it is met again and again");
        health.can_read(3);
        assert_eq!((status(&health), unreadable()), ((true, "ready".into()), json!(null)));
        health.cannot_read(3, None, "bad".into());
        assert_eq!(unreadable()["offset"], json!(null));
        health.gone(3);
        assert_eq!(status(&health), (true, "ready".into()), "whose partition it is now says it");
    }
}
