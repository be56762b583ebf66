//! A gap in a topic that is compacted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Driver;

/// How often the log tells of one: there may be one for each record, and the metric counts them all.
const TELL_AGAIN: Duration = Duration::from_secs(1);
static TOLD: Mutex<Option<Instant>> = Mutex::new(None);

impl Driver {
    /// Whether a gap, from the offset that was expected to the one that came, is what compaction left. All of it counts
    /// as lost then: each of these offsets may have been an event that the API had accepted. (What a transaction left
    /// there, where there are any, cannot be told apart.) A topic that is not compacted has gaps that are no loss.
    pub(super) fn is_lost_to_compaction(&self, expected: i64, offset: i64) -> bool {
        if !self.tools.health.is_input_compacted() {
            return false;
        }
        let (partition, lost) = (self.partition, offset.abs_diff(expected));
        self.tools.health.records_lost(lost);
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
            *told = Some(Instant::now());
            tracing::error!(
                partition,
                expected,
                offset,
                lost,
                "data loss: the topic is compacted, and records are missing"
            );
        }
        true
    }
}
