//! Gaps in the offsets: transaction markers, records that were aborted or compacted away, or lost records.
//!
//! Only the log can tell which, and a topic that is written with transactions has a gap for each of them. So gaps are
//! collected and checked at most once a second, without holding up the records.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rdkafka::consumer::Consumer as _;
use tokio::task::JoinHandle;

use super::PartitionRunner;
use super::gap_reader::{GapReport, behind, in_order, without};
use crate::consumer::handler::Handler;
use crate::consumer::health::GroupHealth;

/// The least time between two requests to the broker.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the broker may take to answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gaps of one partition may be read at a time: all partitions share a reader.
const READ_TIME: Duration = Duration::from_secs(2);
/// How long the last check may take, including the one under way: a revoked partition has eight seconds, of which a
/// transaction takes up to five.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// The most gaps that are kept of each kind; if there are more, the first ones are dropped unchecked.
const MOST_GAPS: usize = 100_000;

/// Gaps that are not explained yet. They never include the offset of a consumed record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unexplained {
    /// Gaps found since the broker was last asked, in the order in which they were found.
    fresh: Vec<Range<i64>>,
    /// Gaps for which the broker gave no answer, and those that its log did not reach yet.
    late: Vec<Range<i64>>,
    /// Gaps that the log still had when the broker answered, but that there was no time to read.
    seen: Vec<Range<i64>>,
}

impl Unexplained {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.late.is_empty() && self.seen.is_empty()
    }

    fn all(&self) -> Vec<Range<i64>> {
        in_order([&*self.fresh, &*self.late, &*self.seen].concat())
    }

    /// The same gaps in order, with each offset once: if a gap was found again, or the topic was recreated, the newest
    /// kind counts.
    fn sorted(self) -> Self {
        let fresh = in_order(self.fresh);
        let late = without(&in_order(self.late), &fresh);
        let seen = without(&without(&in_order(self.seen), &fresh), &late);
        Self { fresh, late, seen }
    }
}

/// The unchecked gaps of a partition. Those left when the partition ends are logged.
#[derive(Debug)]
pub(super) struct Gaps {
    group: Arc<str>,
    partition: i32,
    met: Unexplained,
    began: Instant,
    /// When the broker was last asked, counted from `began`.
    asked: Option<Duration>,
    looking: Option<Look>,
}

/// The gaps that a check left unexplained; `None` if the broker did not answer.
type Answer = Option<Unexplained>;

/// A check that is under way.
#[derive(Debug)]
struct Look {
    into: Arc<Unexplained>,
    task: JoinHandle<Answer>,
}

impl Gaps {
    pub(super) fn new(group: Arc<str>, partition: i32) -> Self {
        Self { group, partition, met: Unexplained::default(), began: Instant::now(), asked: None, looking: None }
    }

    /// The next record has a later offset than expected.
    pub(super) fn met(&mut self, expected: i64, offset: i64) {
        if self.met.fresh.len() >= MOST_GAPS {
            self.bound();
        }
        self.met.fresh.push(expected..offset);
    }

    /// Drops the first gaps if there are too many.
    fn bound(&mut self) {
        for gaps in [&mut self.met.fresh, &mut self.met.late, &mut self.met.seen] {
            if gaps.len() < MOST_GAPS {
                continue;
            }
            *gaps = in_order(std::mem::take(gaps));
            // Several at a time, so that this happens rarely.
            let gone: Vec<_> = gaps.drain(..gaps.len().saturating_sub(MOST_GAPS - MOST_GAPS / 10)).collect();
            if let Some((from, to, gaps)) = extent(&gone) {
                let (group, partition) = (&*self.group, self.partition);
                tracing::warn!(group, partition, from, to, gaps, "too many gaps: these will not be checked");
            }
        }
    }

    /// Starts a check of the due gaps, unless one is under way.
    async fn look(&mut self, now: Duration, ask: impl FnOnce(Arc<Unexplained>) -> JoinHandle<Answer>) {
        if let Some(Look { into, task }) = self.looking.take_if(|look| look.task.is_finished()) {
            let answer = task.await.ok().flatten();
            self.put_back(&into, answer);
        }
        if self.looking.is_none()
            && let Some(due) = self.take_due(now)
        {
            let into = Arc::new(due);
            self.looking = Some(Look { task: ask(Arc::clone(&into)), into });
        }
    }

    /// Checks all remaining gaps and waits for the answers, within a time limit.
    async fn look_last(&mut self, within: Duration, ask: impl FnOnce(Arc<Unexplained>) -> JoinHandle<Answer>) {
        let deadline = tokio::time::Instant::now() + within;
        self.finish(deadline).await;
        if !self.met.is_empty() {
            let into = Arc::new(std::mem::take(&mut self.met).sorted());
            self.looking = Some(Look { task: ask(Arc::clone(&into)), into });
            self.finish(deadline).await;
        }
    }

    /// Waits for the check under way.
    async fn finish(&mut self, deadline: tokio::time::Instant) {
        if let Some(look) = &mut self.looking {
            let answered = tokio::time::timeout_at(deadline, &mut look.task).await;
            let into = Arc::clone(&look.into);
            self.looking = None;
            self.put_back(&into, answered.ok().and_then(Result::ok).flatten());
        }
    }

    /// Abandons the check under way, but uses its answer if it is there.
    fn give_up(&mut self) {
        if let Some(Look { into, task }) = self.looking.take() {
            self.put_back(&into, task.now_or_never().and_then(Result::ok).flatten());
        }
    }

    /// Takes the gaps to check now, if any are due.
    fn take_due(&mut self, now: Duration) -> Option<Unexplained> {
        let is_early = self.asked.is_some_and(|asked| now.saturating_sub(asked) < LOOK_INTERVAL);
        if self.met.is_empty() || is_early {
            return None;
        }
        self.asked = Some(now);
        Some(std::mem::take(&mut self.met).sorted())
    }

    /// Puts back the gaps that a check left unexplained: all of them if there was no answer.
    fn put_back(&mut self, into: &Unexplained, answer: Answer) {
        let left = answer.unwrap_or_else(|| {
            let late = in_order([&*into.fresh, &*into.late].concat());
            Unexplained { fresh: Vec::new(), late, seen: into.seen.clone() }
        });
        self.met.late.extend(left.late);
        self.met.seen.extend(left.seen);
        self.bound();
    }
}

impl Drop for Gaps {
    fn drop(&mut self) {
        self.give_up();
        let Unexplained { fresh, late, seen } = std::mem::take(&mut self.met).sorted();
        let (group, partition) = (&*self.group, self.partition);
        let unasked = in_order([fresh, late].concat());
        if let Some((from, to, gaps)) = extent(&unasked) {
            tracing::error!(
                group,
                partition,
                from,
                to,
                gaps,
                "records may be lost: these gaps were not checked before this worker lost the partition"
            );
        }
        if let Some((from, to, gaps)) = extent(&seen) {
            tracing::warn!(
                group,
                partition,
                from,
                to,
                gaps,
                "no time to check these gaps before this worker lost the partition: the log still had them"
            );
        }
    }
}

/// The losses that a check found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Loss {
    /// The first lost record, and how many are lost.
    certain: Option<(i64, u64)>,
    /// The same for records that may be lost: at most this many.
    possible: Option<(i64, u64)>,
}

/// Splits the gaps that are not before `low`, the beginning of the log: those that the log has, and those that reach
/// past its `end`, because of a new leader or a recreated topic.
fn readable(gaps: &[Range<i64>], low: i64, end: i64) -> (Vec<Range<i64>>, Vec<Range<i64>>) {
    behind(gaps, low).into_iter().partition(|gap| gap.end <= end)
}

/// The losses in these gaps, which are in order, if the partition now begins at `low`. A client that requests a deleted
/// record is sent to the first one that exists, so the loss is in the gap that contains `low`. Gaps before that still
/// existed when the client read past them. That is certain only for fresh gaps: if the partition now begins in or
/// behind an older gap, its content can no longer be determined.
fn lost(Unexplained { fresh, late, seen }: &Unexplained, low: i64) -> Loss {
    let gap = fresh.iter().find(|gap| gap.start < low && low <= gap.end);
    let certain = gap.map(|gap| (gap.start, low.abs_diff(gap.start)));
    let doubtful = if certain.is_some() { &[][..] } else { fresh };
    let passed = [doubtful, late, seen].concat().into_iter().filter(|gap| gap.start < low);
    let passed = in_order(passed.map(|gap| gap.start..gap.end.min(low)).collect());
    let possible = passed.first().map(|first| (first.start, offsets(&passed)));
    Loss { certain, possible }
}

/// Where ranges begin and end, and how many there are; they must be in order.
fn extent(ranges: &[Range<i64>]) -> Option<(i64, i64, usize)> {
    Some((ranges.first()?.start, ranges.last()?.end, ranges.len()))
}

/// How many offsets the ranges have.
fn offsets(ranges: &[Range<i64>]) -> u64 {
    ranges.iter().map(|range| range.end.abs_diff(range.start)).sum()
}

impl Loss {
    fn tell(&self, health: &GroupHealth, partition: i32, low: i64) {
        if let Some((expected, lost)) = self.certain {
            health.records_lost(lost);
            tracing::error!(
                group = health.group(),
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
                group = health.group(),
                partition,
                expected,
                low,
                at_most,
                "records may be lost: the log begins behind gaps that were not checked"
            );
        }
    }
}

/// Logs and counts offsets of a log with neither a record nor a transaction marker.
fn tell_missing(health: &GroupHealth, partition: i32, missing: &[Range<i64>]) {
    let Some((expected, to, _)) = extent(missing) else { return };
    let lost = offsets(missing);
    health.records_lost(lost);
    tracing::error!(
        group = health.group(),
        partition,
        expected,
        to,
        lost,
        "data loss: records are missing within the log: the topic is compacted, or was"
    );
}

impl<H: Handler> PartitionRunner<H> {
    /// Starts a check of the due gaps, unless one is under way.
    pub(super) async fn look_for_losses(&self, gaps: &mut Gaps) {
        gaps.look(gaps.began.elapsed(), |due| self.look_into(due, LOOK_TIMEOUT)).await;
    }

    /// The partition ends: checks the remaining gaps and waits for that. Gaps that are still unexplained then are
    /// logged.
    pub(super) async fn look_for_last_losses(&self, gaps: &mut Gaps) {
        gaps.look_last(LAST_LOOK, |due| self.look_into(due, LAST_LOOK)).await;
    }

    fn look_into(&self, due: Arc<Unexplained>, timeout: Duration) -> JoinHandle<Answer> {
        let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
        let dependencies = Arc::clone(&self.dependencies);
        tokio::task::spawn_blocking(move || {
            let (began, health, all) = (Instant::now(), &dependencies.health, due.all());
            let (gaps, again) = (all.len(), due.late.len() + due.seen.len());
            let cannot = |error: String| {
                let expected = all.first().map(|gap| gap.start);
                tracing::warn!(
                    group = health.group(),
                    partition,
                    expected,
                    gaps,
                    error,
                    "cannot explain these gaps yet"
                );
            };
            let (low, end) = match consumer.fetch_watermarks(&topic, partition, timeout) {
                Ok(watermarks) => watermarks,
                Err(error) => {
                    cannot(error.to_string());
                    return None;
                }
            };
            // Even if nothing can be read: the next check begins at `low`.
            lost(&due, low).tell(health, partition, low);
            let (there, late) = readable(&all, low, end);
            // A stream of the outbox has a marker for each transaction, more of them than can be read. A record that is
            // lost inside it shows in the numbers of its aggregate.
            if H::SPEC.stream.transactional {
                return Some(Unexplained { fresh: Vec::new(), late, seen: Vec::new() });
            }
            let seen = match dependencies.gap_reader.read(&topic, partition, &there, READ_TIME) {
                Ok(GapReport { missing, left }) => {
                    tell_missing(health, partition, &missing);
                    left
                }
                Err(error) => {
                    cannot(format!("{error:#}"));
                    there
                }
            };
            let left_over = seen.len() + late.len();
            let (group, took) = (health.group(), began.elapsed());
            tracing::debug!(group, partition, gaps, again, low, left_over, ?took, "checked gaps");
            Some(Unexplained { fresh: Vec::new(), late, seen })
        })
    }
}

#[cfg(test)]
mod tests;
