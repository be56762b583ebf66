//! Gaps in the offsets: markers of transactions, what was aborted or compacted away, or records that are lost.
//!
//! Only the log can tell which, and a topic that is written by transactions has a gap for each of them. So they
//! are gathered, and looked into at most once a second, beside the way of the records.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rdkafka::consumer::Consumer as _;
use tokio::task::JoinHandle;

use super::Driver;
use super::explain::Found;
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

/// What is left of the gaps that were looked into; none where there was no answer.
type Answer = Option<Vec<Range<i64>>>;

/// A look that is under way.
#[derive(Debug)]
struct Look {
    into: Arc<Unexplained>,
    /// Gives what is left, for which there was no time; none where there was no answer.
    task: JoinHandle<Answer>,
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
    async fn look(&mut self, now: Duration, ask: impl FnOnce(Arc<Unexplained>) -> JoinHandle<Answer>) {
        if let Some(Look { into, task }) = self.looking.take_if(|look| look.task.is_finished()) {
            let left = task.await.ok().flatten();
            self.put_back(left.as_deref().unwrap_or(&into.gaps));
        }
        if self.looking.is_none()
            && let Some(due) = self.take_due(now)
        {
            let into = Arc::new(due);
            self.looking = Some(Look { task: ask(Arc::clone(&into)), into });
        }
    }

    /// The same for all that is left, and waits for the answers, within a bound.
    async fn look_last(&mut self, within: Duration, ask: impl FnOnce(Arc<Unexplained>) -> JoinHandle<Answer>) {
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
            let left = answered.ok().and_then(Result::ok).flatten();
            self.put_back(left.as_deref().unwrap_or(&into.gaps));
        }
    }

    /// Of the look that is under way nobody waits for the answer.
    fn give_up(&mut self) {
        if let Some(Look { into, task }) = self.looking.take() {
            let left = task.now_or_never().and_then(Result::ok).flatten();
            self.put_back(left.as_deref().unwrap_or(&into.gaps));
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

    /// There was no answer of these, or no time for them: they are looked into again.
    fn put_back(&mut self, left: &[Range<i64>]) {
        let mut gaps = left.to_vec();
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

/// What of the gaps the log still has, where it begins at `low`; and those that it does not have yet, or any more,
/// where it ends at `end`: a leader that is new, or a topic that was made anew.
fn readable(gaps: &[Range<i64>], low: i64, end: i64) -> (Vec<Range<i64>>, Vec<Range<i64>>) {
    let there = gaps.iter().filter(|gap| low < gap.end).map(|gap| gap.start.max(low)..gap.end);
    there.partition(|gap| gap.end <= end)
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

/// Offsets of a log that hold neither a record nor a transaction's marker.
fn tell_missing(health: &Health, partition: i32, missing: &[Range<i64>]) {
    let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return };
    let lost = missing.iter().map(|range| range.end.abs_diff(range.start)).sum::<u64>();
    health.records_lost(lost);
    tracing::error!(
        partition,
        expected = first.start,
        to = last.end,
        lost,
        "data loss: records are missing within the log: the topic is compacted, or was"
    );
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

    fn look_into(&self, due: Arc<Unexplained>, timeout: Duration) -> JoinHandle<Answer> {
        let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
        let tools = Arc::clone(&self.tools);
        tokio::task::spawn_blocking(move || {
            let (began, health) = (Instant::now(), &tools.health);
            let (gaps, late) = (due.gaps.len(), due.late);
            let look = || {
                let (low, end) = consumer.fetch_watermarks(&topic, partition, timeout)?;
                let (there, beyond) = readable(&due.gaps, low, end);
                let mut found = tools.gap_reader.read(&topic, partition, &there, timeout)?;
                found.left.extend(beyond);
                anyhow::Ok((low, found))
            };
            match look() {
                Ok((low, Found { missing, left })) => {
                    let left_over = left.len();
                    tracing::debug!(partition, gaps, late, low, left_over, took = ?began.elapsed(), "looked into gaps");
                    lost(&due, low).tell(health, partition, low);
                    tell_missing(health, partition, &missing);
                    Some(left)
                }
                Err(error) => {
                    let expected = due.gaps.first().map(|gap| gap.start);
                    let error = format!("{error:#}");
                    tracing::warn!(partition, expected, gaps, error, "gaps that cannot be explained yet");
                    None
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
