//! Gaps in the offsets: markers of transactions, what was aborted or compacted away, or records that are lost.
//!
//! Only the broker can tell which, and a topic that is written by transactions has a gap for each of them. So they
//! are gathered, and the broker is asked at most once a second, beside the way of the records.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rdkafka::consumer::Consumer as _;
use tokio::task::JoinHandle;

use super::Driver;
use crate::health::Health;

/// How often the broker is asked at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last look may take, with the one that is under way: a partition that is revoked has eight seconds,
/// of which a transaction takes five.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// The most gaps that are kept apart; later ones widen the last of them.
const MOST_GAPS: usize = 10_000;

/// Gaps that are not explained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unexplained {
    gaps: Vec<Range<i64>>,
    /// How many of the first were asked about already, without an answer.
    late: usize,
}

/// The gaps of a partition that nobody has looked into yet. Those that are left at its end are told.
#[derive(Debug)]
pub(super) struct Gaps {
    partition: i32,
    met: Unexplained,
    began: Instant,
    /// When the broker was last asked, since then.
    asked: Option<Duration>,
    looking: Option<Look>,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    into: Arc<Unexplained>,
    /// Says whether the broker answered.
    task: JoinHandle<bool>,
}

impl Gaps {
    pub(super) fn new(partition: i32) -> Self {
        Self { partition, met: Unexplained::default(), began: Instant::now(), asked: None, looking: None }
    }

    /// The next record is behind the offset that was expected.
    pub(super) fn met(&mut self, expected: i64, offset: i64) {
        let gaps = &mut self.met.gaps;
        let is_full = gaps.len() >= MOST_GAPS;
        match gaps.last_mut() {
            Some(last) if is_full => last.end = offset,
            _ => gaps.push(expected..offset),
        }
    }

    /// Has the broker asked for what is due, where it is not being asked.
    async fn look(&mut self, now: Duration, ask: impl FnOnce(Arc<Unexplained>) -> JoinHandle<bool>) {
        if let Some(Look { into, task }) = self.looking.take_if(|look| look.task.is_finished())
            && !task.await.unwrap_or(false)
        {
            self.put_back(&into);
        }
        if self.looking.is_none()
            && let Some(due) = self.take_due(now)
        {
            let into = Arc::new(due);
            self.looking = Some(Look { task: ask(Arc::clone(&into)), into });
        }
    }

    /// The same for all that is left, and waits for the answers, within a bound.
    async fn look_last(&mut self, within: Duration, ask: impl FnOnce(Arc<Unexplained>) -> JoinHandle<bool>) {
        let deadline = tokio::time::Instant::now() + within;
        self.finish(deadline).await;
        if !self.met.gaps.is_empty() {
            let into = Arc::new(std::mem::take(&mut self.met));
            self.looking = Some(Look { task: ask(Arc::clone(&into)), into });
            self.finish(deadline).await;
        }
    }

    /// Waits for the look that is under way.
    async fn finish(&mut self, deadline: tokio::time::Instant) {
        if let Some(look) = &mut self.looking {
            let answered = tokio::time::timeout_at(deadline, &mut look.task).await;
            let into = Arc::clone(&look.into);
            self.looking = None;
            if !matches!(answered, Ok(Ok(true))) {
                self.put_back(&into);
            }
        }
    }

    /// Of the look that is under way nobody waits for the answer.
    fn give_up(&mut self) {
        if let Some(Look { into, task }) = self.looking.take()
            && !matches!(task.now_or_never(), Some(Ok(true)))
        {
            self.put_back(&into);
        }
    }

    /// What is to be looked into now, if anything.
    fn take_due(&mut self, now: Duration) -> Option<Unexplained> {
        let is_early = self.asked.is_some_and(|asked| now.saturating_sub(asked) < LOOK_INTERVAL);
        if self.met.gaps.is_empty() || is_early {
            return None;
        }
        self.asked = Some(now);
        Some(std::mem::take(&mut self.met))
    }

    /// The broker did not answer: these are looked into again.
    fn put_back(&mut self, looked: &Unexplained) {
        let mut gaps = looked.gaps.clone();
        let late = gaps.len();
        gaps.append(&mut self.met.gaps);
        if let Some(end) = gaps.last().map(|last| last.end).filter(|_| gaps.len() > MOST_GAPS) {
            gaps.truncate(MOST_GAPS);
            gaps.iter_mut().last().into_iter().for_each(|last| last.end = end);
        }
        self.met = Unexplained { gaps, late };
    }
}

impl Drop for Gaps {
    fn drop(&mut self) {
        self.give_up();
        if let (Some(first), Some(last)) = (self.met.gaps.first(), self.met.gaps.last()) {
            tracing::error!(
                partition = self.partition,
                from = first.start,
                to = last.end,
                gaps = self.met.gaps.len(),
                "records may be lost: these gaps were not looked into before the partition ended here"
            );
        }
    }
}

/// What a look has found out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Loss {
    /// The first record that is lost, and how many are.
    certain: Option<(i64, u64)>,
    /// The same of records that may be lost, at most.
    possible: Option<(i64, u64)>,
}

/// What was lost in these gaps, where the partition now begins at `low`. Whoever asks for a record that is gone is
/// sent to the first that is there, so the loss lies in the gap that `low` is in. Gaps before that were there when
/// they were read past, unless the broker was asked too late: where the partition begins behind a gap by now, nobody
/// can tell any more what it was.
fn lost(Unexplained { gaps, late }: &Unexplained, low: i64) -> Loss {
    let size = |gap: &Range<i64>| gap.end.abs_diff(gap.start);
    let gap = gaps.iter().find(|gap| gap.start < low && low <= gap.end);
    let certain = gap.map(|gap| (gap.start, low.abs_diff(gap.start)));
    let asked_late = if certain.is_some() { *late } else { gaps.len() };
    let passed = || gaps.iter().take(asked_late).filter(|gap| gap.end < low);
    let possible = passed().next().map(|first| (first.start, passed().map(size).sum()));
    Loss { certain, possible }
}

impl Loss {
    fn tell(&self, health: &Health, partition: i32, low: i64) {
        if let Some((expected, lost)) = self.certain {
            health.records_lost(lost);
            tracing::error!(
                partition,
                expected,
                low,
                lost,
                "data loss: the broker no longer has records that were not consumed"
            );
        }
        if let Some((expected, at_most)) = self.possible {
            health.records_lost(at_most);
            tracing::error!(
                partition,
                expected,
                low,
                at_most,
                "records may be lost: the log begins behind gaps that nobody had looked into"
            );
        }
    }
}

impl Driver {
    /// Has the broker asked for what is due, where it is not being asked.
    pub(super) async fn look_for_losses(&self, gaps: &mut Gaps) {
        gaps.look(gaps.began.elapsed(), |due| self.look_into(due, LOOK_TIMEOUT)).await;
    }

    /// The partition ends: what nobody has looked into is looked into, and that is waited for. What cannot be
    /// explained by then is told as that.
    pub(super) async fn look_for_last_losses(&self, gaps: &mut Gaps) {
        gaps.look_last(LAST_LOOK, |due| self.look_into(due, LAST_LOOK)).await;
    }

    fn look_into(&self, due: Arc<Unexplained>, timeout: Duration) -> JoinHandle<bool> {
        let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
        let health = self.tools.health.clone();
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let (gaps, late) = (due.gaps.len(), due.late);
            match consumer.fetch_watermarks(&topic, partition, timeout) {
                Ok((low, _)) => {
                    tracing::debug!(partition, gaps, late, low, took = ?began.elapsed(), "looked into gaps");
                    lost(&due, low).tell(&health, partition, low);
                    true
                }
                Err(error) => {
                    let expected = due.gaps.first().map(|gap| gap.start);
                    tracing::warn!(partition, expected, gaps, %error, "gaps that cannot be explained yet");
                    false
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use tokio::sync::watch;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn however_many_gaps_there_are_the_broker_is_asked_once_a_second() {
        let mut gaps = Gaps::new(0);
        assert_eq!(gaps.take_due(millis(0)), None, "nothing is missing");
        let mut looks = Vec::new();
        for n in 0..2_500 {
            let (now, at) = (u64::try_from(n).unwrap(), 3 * n);
            gaps.met(at, at + 1);
            looks.extend(gaps.take_due(millis(now)));
        }
        let sizes: Vec<_> = looks.iter().map(|look| look.gaps.len()).collect();
        assert_eq!(sizes, [1, 1_000, 1_000], "and each gap is looked into once");
        gaps.put_back(&looks.pop().unwrap());
        let Unexplained { gaps: again, late } = gaps.take_due(millis(3_000)).unwrap();
        assert_eq!((again.len(), again.first().cloned()), (1_499, Some(3_003..3_004)), "in their order");
        assert_eq!(late, 1_000);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut gaps = Gaps::new(0);
        for n in 0..2 * i64::try_from(MOST_GAPS).unwrap() {
            gaps.met(2 * n, 2 * n + 1);
        }
        assert_eq!(gaps.met.gaps.len(), MOST_GAPS);
        // And while the broker does not answer.
        let due = gaps.take_due(Duration::ZERO).unwrap();
        gaps.met(4 * i64::try_from(MOST_GAPS).unwrap() - 2, 4 * i64::try_from(MOST_GAPS).unwrap() - 1);
        gaps.put_back(&due);
        assert_eq!(gaps.met.gaps.len(), MOST_GAPS);
        assert_eq!(
            gaps.met.gaps.last().unwrap().end,
            4 * i64::try_from(MOST_GAPS).unwrap() - 1,
            "and none is forgotten"
        );
    }

    /// A broker that answers once it is let, and then says where the log begins.
    fn broker<'t>(
        lets: &'t watch::Receiver<bool>,
        low: i64,
        told: &'t Arc<Mutex<Vec<Loss>>>,
    ) -> impl Fn(Arc<Unexplained>) -> JoinHandle<bool> + 't {
        move |due| {
            let (mut lets, told) = (lets.clone(), Arc::clone(told));
            tokio::spawn(async move {
                lets.wait_for(|lets| *lets).await.unwrap();
                told.lock().unwrap().push(lost(&due, low));
                true
            })
        }
    }

    #[tokio::test]
    async fn what_was_met_just_before_the_end_is_told_before_the_end() {
        let (told, (lets, answers)) = (Arc::default(), watch::channel(false));
        let ask = broker(&answers, 14, &told);
        let mut gaps = Gaps::new(0);
        // A look is under way, and it is too early for the next one.
        gaps.met(3, 4);
        gaps.look(millis(0), &ask).await;
        gaps.met(10, 15);
        gaps.look(millis(1), &ask).await;
        assert!(told.lock().unwrap().is_empty());
        let answering = async {
            tokio::task::yield_now().await;
            lets.send_replace(true);
        };
        tokio::join!(gaps.look_last(Duration::from_secs(60), &ask), answering);
        let told = std::mem::take(&mut *told.lock().unwrap());
        let passed = Loss { certain: None, possible: Some((3, 1)) };
        assert_eq!(told, [passed, Loss { certain: Some((10, 4)), possible: None }]);
        assert_eq!(gaps.met, Unexplained::default(), "and nothing is left");
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_broker_that_does_not_answer() {
        let (told, (_lets, answers)) = (Arc::default(), watch::channel(false));
        let ask = broker(&answers, 0, &told);
        let mut gaps = Gaps::new(0);
        gaps.met(3, 4);
        gaps.look(millis(0), &ask).await;
        gaps.met(10, 15);
        // Nor is anything forgotten where the runner is dropped meanwhile.
        assert!(gaps.look_last(Duration::from_secs(60), &ask).now_or_never().is_none());
        gaps.look_last(millis(20), &ask).await;
        assert!(told.lock().unwrap().is_empty());
        assert_eq!(gaps.met.gaps, [3..4, 10..15], "these are told as what nobody has looked into");
        assert!(gaps.look_last(Duration::from_secs(60), &ask).now_or_never().is_none());
        gaps.give_up();
        assert_eq!(gaps.met.gaps, [3..4, 10..15]);
    }

    #[test]
    fn where_the_log_begins_behind_a_gap_that_was_looked_into_late_a_loss_is_told_as_possible() {
        let met = |gaps: &[Range<i64>], late| Unexplained { gaps: gaps.to_vec(), late };
        let one = || met(std::slice::from_ref(&(10..20)), 1);
        let certain = |from, lost| Loss { certain: Some((from, lost)), possible: None };
        assert_eq!(lost(&one(), 20), certain(10, 10));
        assert_eq!(lost(&one(), 12), certain(10, 2));
        assert_eq!(lost(&one(), 10), Loss::default(), "it was a marker, or was aborted");
        // The broker did not answer while its log went on to lose its beginning.
        let possible = |from, at_most| Loss { certain: None, possible: Some((from, at_most)) };
        assert_eq!(lost(&one(), 21), possible(10, 10));
        assert_eq!(lost(&met(&[10..20, 25..26, 40..50], 2), 30), possible(10, 11));
        let both = Loss { certain: Some((40, 5)), possible: Some((10, 10)) };
        assert_eq!(lost(&met(&[10..20, 25..26, 40..50], 1), 45), both, "the second was met just now");
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
            let certain = (dropped > 0).then_some((at + 1, dropped.unsigned_abs()));
            let gaps = Unexplained { gaps, late: 0 };
            if dropped > 0 {
                prop_assert_eq!(lost(&gaps, low), Loss { certain, possible: None });
            }
            let markers_alone = Unexplained { gaps: markers_alone, late: 0 };
            for low in [0, 1] {
                prop_assert_eq!(lost(&markers_alone, low), Loss::default(), "the log begins where it began");
            }
        }
    }
}
