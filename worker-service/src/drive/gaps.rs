//! Gaps in the offsets: markers of transactions, what was aborted or compacted away, or records that are lost.
//!
//! Only the broker can tell which, and a topic that is written by transactions has a gap for each of them. So they
//! are gathered, and the broker is asked at most once a second, beside the way of the records.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use tokio::task::JoinHandle;

use super::Driver;

/// How often the broker is asked at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// The most gaps that are kept apart; later ones widen the last of them.
const MOST_GAPS: usize = 10_000;

/// The gaps that nobody has looked into yet.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    met: Vec<Range<i64>>,
    /// When the broker was last asked, from any moment on.
    asked: Option<Duration>,
    /// The look that is under way. It gives back what it could not tell of.
    looking: Option<JoinHandle<Vec<Range<i64>>>>,
}

impl Gaps {
    /// The next record is behind the offset that was expected.
    pub(super) fn met(&mut self, expected: i64, offset: i64) {
        let is_full = self.met.len() >= MOST_GAPS;
        match self.met.last_mut() {
            Some(last) if is_full => last.end = offset,
            _ => self.met.push(expected..offset),
        }
    }

    /// What is to be looked into now, if anything.
    fn take_due(&mut self, now: Duration) -> Option<Vec<Range<i64>>> {
        let is_early = self.asked.is_some_and(|asked| now.saturating_sub(asked) < LOOK_INTERVAL);
        if self.met.is_empty() || is_early {
            return None;
        }
        self.asked = Some(now);
        Some(std::mem::take(&mut self.met))
    }

    /// The broker did not answer: these are looked into again.
    fn put_back(&mut self, mut gaps: Vec<Range<i64>>) {
        gaps.append(&mut self.met);
        if let Some(end) = gaps.last().map(|last| last.end).filter(|_| gaps.len() > MOST_GAPS) {
            gaps.truncate(MOST_GAPS);
            gaps.iter_mut().last().into_iter().for_each(|last| last.end = end);
        }
        self.met = gaps;
    }
}

/// What was lost in these gaps, where the partition now begins at `low`. Whoever asks for a record that is gone is
/// sent to the first that is there, so the loss lies in the gap that `low` is in. Gaps before that were there when
/// they were read past.
fn lost(gaps: &[Range<i64>], low: i64) -> Option<(i64, u64)> {
    let gap = gaps.iter().find(|gap| gap.start < low && low <= gap.end)?;
    Some((gap.start, low.abs_diff(gap.start)))
}

impl Driver {
    /// Has the broker asked for what is due, where it is not being asked.
    pub(super) async fn look_for_losses(&self, gaps: &mut Gaps, started: Instant) {
        if gaps.met.is_empty() && gaps.looking.is_none() {
            return;
        }
        if let Some(looking) = gaps.looking.take_if(|looking| looking.is_finished()) {
            gaps.put_back(looking.await.unwrap_or_default());
        }
        if gaps.looking.is_none()
            && let Some(due) = gaps.take_due(started.elapsed())
        {
            gaps.looking = Some(self.look_into(due));
        }
    }

    /// The partition ends: what nobody has looked into is looked into, and nobody waits for that.
    pub(super) fn look_for_last_losses(&self, gaps: Gaps) {
        if !gaps.met.is_empty() {
            drop(self.look_into(gaps.met));
        }
    }

    fn look_into(&self, gaps: Vec<Range<i64>>) -> JoinHandle<Vec<Range<i64>>> {
        let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            match consumer.fetch_watermarks(&topic, partition, LOOK_TIMEOUT) {
                Ok((low, _)) => {
                    tracing::debug!(partition, gaps = gaps.len(), low, took = ?began.elapsed(), "looked into gaps");
                    if let Some((expected, lost)) = lost(&gaps, low) {
                        metrics::counter!("records_lost_total").increment(lost);
                        tracing::error!(
                            partition,
                            expected,
                            low,
                            lost,
                            "data loss: the broker no longer has records that were not consumed"
                        );
                    }
                    Vec::new()
                }
                Err(error) => {
                    let expected = gaps.first().map(|gap| gap.start);
                    tracing::warn!(partition, expected, gaps = gaps.len(), %error, "gaps that cannot be explained yet");
                    gaps
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn however_many_gaps_there_are_the_broker_is_asked_once_a_second() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.take_due(millis(0)), None, "nothing is missing");
        let mut looks = Vec::new();
        for n in 0..2_500 {
            let (now, at) = (u64::try_from(n).unwrap(), 3 * n);
            gaps.met(at, at + 1);
            looks.extend(gaps.take_due(millis(now)));
        }
        let sizes: Vec<_> = looks.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1_000, 1_000], "and each gap is looked into once");
        gaps.put_back(looks.pop().unwrap());
        let again = gaps.take_due(millis(3_000)).unwrap();
        assert_eq!((again.len(), again.first().cloned()), (1_499, Some(3_003..3_004)), "in their order");
    }

    #[test]
    fn gaps_are_bounded() {
        let mut gaps = Gaps::default();
        for n in 0..2 * i64::try_from(MOST_GAPS).unwrap() {
            gaps.met(2 * n, 2 * n + 1);
        }
        assert_eq!(gaps.met.len(), MOST_GAPS);
        // And while the broker does not answer.
        let due = gaps.take_due(Duration::ZERO).unwrap();
        gaps.met(4 * i64::try_from(MOST_GAPS).unwrap() - 2, 4 * i64::try_from(MOST_GAPS).unwrap() - 1);
        gaps.put_back(due);
        assert_eq!(gaps.met.len(), MOST_GAPS);
        assert_eq!(gaps.met.last().unwrap().end, 4 * i64::try_from(MOST_GAPS).unwrap() - 1, "and none is forgotten");
    }

    proptest! {
        /// A log with gaps of markers, of which the broker then drops its beginning, beyond what was consumed.
        #[test]
        fn what_is_lost_is_what_was_dropped_unread(
            read in prop::collection::vec((1..4i64, 1..4i64), 0..20), dropped in 0..50i64, aborted in 0..5i64
        ) {
            // Records, then markers, again and again: no loss.
            let (mut at, mut gaps) = (0, Vec::new());
            for (records, markers) in read {
                let expected = at + records;
                at = expected + markers;
                gaps.push(expected..at);
            }
            let markers_alone = gaps.clone();
            // The next record is one behind where the log now begins, because what is there first was aborted.
            let low = at + 1 + dropped;
            gaps.push(at + 1..low + aborted);
            let expected = (dropped > 0).then_some((at + 1, dropped.unsigned_abs()));
            prop_assert_eq!(lost(&gaps, low), expected);
            for low in [0, 1] {
                prop_assert_eq!(lost(&markers_alone, low), None, "the log begins where it began");
            }
        }
    }
}
