//! What stands in a gap. Each offset of a log that nobody compacted holds a record or a transaction's marker, so an
//! offset that holds neither is a record that was lost, whatever the topic's settings say by now.
//!
//! The worker's own client shows neither markers nor what was aborted. A reader without isolation is handed what was
//! aborted as records; markers it is not handed, but its position goes past each of them. So it fetches one batch at a
//! time, and a marker is a batch of its own.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::{Fetched, LogContext, PlainConsumer, next_fetched};

/// How long to wait until more may have come.
const STEP: Duration = Duration::from_micros(200);
/// How long the client may take to go to an offset.
const SEEK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an offset has to be found empty. The position behind a marker is not seen where the next batch came in
/// between two instructions of the client; that does not happen again and again.
const LOOKS: usize = 4;
/// Gaps that are so close are read in one go, with what stands between them.
const CLOSE: i64 = 10;

/// Reads gaps, those of one partition at a time. It connects when it is first needed.
pub struct GapReader {
    client: ClientConfig,
    consumer: Mutex<Option<PlainConsumer>>,
}

/// What was found in gaps.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GapReport {
    /// Offsets that hold nothing, in order.
    pub missing: Vec<Range<i64>>,
    /// What of the gaps there was no time for.
    pub left: Vec<Range<i64>>,
}

impl GapReader {
    /// One for the cluster of this client.
    pub fn new(client: &ClientConfig, group: &str) -> Self {
        let mut client = client.clone();
        client
            // Only a name that the client wants: the group is not joined, and nothing is committed for it.
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true")
            // One batch at a time: the broker hands out the first whole, however large it is, and then no other.
            .set("fetch.message.max.bytes", "1")
            .set("queued.min.messages", "1")
            .set("fetch.queue.backoff.ms", "1")
            .set("fetch.wait.max.ms", "100");
        Self { client, consumer: Mutex::new(None) }
    }

    /// Reads gaps, for so long at most, from when nobody else does. What is read by then does not have to be read
    /// again. Fails where what stands first in the gaps cannot be read. Blocks its thread.
    pub fn read(
        &self,
        topic: &str,
        partition: i32,
        gaps: &[Range<i64>],
        timeout: Duration,
    ) -> anyhow::Result<GapReport> {
        if gaps.is_empty() {
            return Ok(GapReport::default());
        }
        let mut kept = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match kept.take() {
            Some(consumer) => consumer,
            None => self.client.create_with_context(LogContext).context("cannot create a Kafka client")?,
        };
        let deadline = Instant::now() + timeout;
        let reading = Reading { consumer: &consumer, topic, partition, deadline };
        let gaps = in_order(gaps.to_vec());
        let (found, trouble) = explain(&gaps, |range| reading.walk(range));
        match trouble {
            None => {
                consumer.unassign()?;
                *kept = Some(consumer);
            }
            // One that failed is made anew.
            Some(error) if found.left == gaps => return Err(error),
            Some(error) => {
                let (at, error) = (found.left.first().map(|gap| gap.start), format!("{error:#}"));
                tracing::warn!(
                    group = self.client.get("group.id"),
                    partition,
                    at,
                    error,
                    "cannot read a gap in the offsets yet"
                );
            }
        }
        Ok(found)
    }
}

/// The gaps, which are in order, with those that are close to each other in one: that is how they are read.
fn close(gaps: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut close: Vec<Range<i64>> = Vec::new();
    for gap in gaps {
        match close.last_mut() {
            Some(last) if gap.start - last.end <= CLOSE => last.end = gap.end,
            _ => close.push(gap.clone()),
        }
    }
    close
}

/// What gaps hold, which are in order, by walks that end where time is up; and what went wrong. What stands between
/// gaps is read with them, and is neither missing nor left: it was consumed, whatever became of it since.
fn explain(
    gaps: &[Range<i64>],
    mut walk: impl FnMut(Range<i64>) -> anyhow::Result<Walk>,
) -> (GapReport, Option<anyhow::Error>) {
    let (mut explained, mut trouble) = (Explained { reached: i64::MIN, missing: Vec::new() }, None);
    for range in close(gaps) {
        match explained.look(range, LOOKS, &mut walk) {
            Ok(true) => {}
            ended => {
                trouble = ended.err();
                break;
            }
        }
    }
    (GapReport { missing: common(&explained.missing, gaps), left: behind(gaps, explained.reached) }, trouble)
}

/// How far ranges are explained, and what is missing before that.
struct Explained {
    reached: i64,
    missing: Vec<Range<i64>>,
}

impl Explained {
    /// Explains a range, where a hole is one that so many looks in a row find. False where time was up.
    fn look(
        &mut self,
        range: Range<i64>,
        looks: usize,
        walk: &mut impl FnMut(Range<i64>) -> anyhow::Result<Walk>,
    ) -> anyhow::Result<bool> {
        let mut at = range.start;
        while at < range.end {
            let walked = walk(at..range.end)?;
            at = walked.at;
            match walked.missing.first().cloned() {
                Some(hole) => {
                    self.reached = hole.start;
                    if looks > 1 {
                        if !self.look(hole, looks - 1, walk)? {
                            return Ok(false);
                        }
                    } else {
                        self.missing.push(hole);
                    }
                    self.reached = at;
                }
                None => {
                    self.reached = at;
                    if at < range.end {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// Ranges in order, those that overlap in one.
pub(super) fn in_order(mut ranges: Vec<Range<i64>>) -> Vec<Range<i64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let overlap = next.start < last.end;
        if overlap {
            last.end = last.end.max(next.end);
        }
        overlap
    });
    ranges
}

/// What of ranges is at an offset or behind it.
pub(super) fn behind(ranges: &[Range<i64>], offset: i64) -> Vec<Range<i64>> {
    ranges.iter().filter(|range| offset < range.end).map(|range| range.start.max(offset)..range.end).collect()
}

/// What is in ranges and in others, which are all in order.
fn common(ranges: &[Range<i64>], others: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut common = Vec::new();
    for range in ranges {
        let first = others.partition_point(|other| other.end <= range.start);
        let met = others.iter().skip(first).take_while(|other| other.start < range.end);
        common.extend(met.map(|other| range.start.max(other.start)..range.end.min(other.end)));
    }
    common
}

/// What is in ranges and not in others, which are all in order.
pub(super) fn without(ranges: &[Range<i64>], others: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut rest = Vec::new();
    for range in ranges {
        let mut at = range.start;
        for shared in common(std::slice::from_ref(range), others) {
            rest.push(at..shared.start);
            at = shared.end;
        }
        rest.push(at..range.end);
    }
    rest.retain(|range| !range.is_empty());
    rest
}

struct Reading<'a> {
    consumer: &'a PlainConsumer,
    topic: &'a str,
    partition: i32,
    deadline: Instant,
}

impl Reading<'_> {
    /// Reads on until there is a hole, or the end, or time is up.
    fn walk(&self, range: Range<i64>) -> anyhow::Result<Walk> {
        let (mut walk, mut trouble) = (Walk::new(range.clone()), None);
        if !self.go_to(range.start)? {
            return Ok(walk);
        }
        while !walk.is_done() && walk.missing.is_empty() {
            if Instant::now() >= self.deadline {
                // What was read before the trouble counts; the next look begins with the trouble.
                let stuck = trouble.filter(|_| walk.at == range.start);
                return stuck.map_or(Ok(walk), |why| Err(anyhow::anyhow!("cannot read a gap in the offsets: {why}")));
            }
            match next_fetched(self.consumer, Duration::ZERO) {
                Some(Fetched::Record(offset)) => walk.record(offset),
                Some(Fetched::Failed { text, .. }) => trouble = Some(text),
                other => {
                    if let Some(position) = self.position()? {
                        walk.position(position);
                    }
                    if other.is_some() {
                        // A leader that is new may not know yet how far its log is agreed on.
                        trouble = Some("the log ends in the gap".to_owned());
                    }
                    sleep(STEP);
                }
            }
        }
        Ok(walk)
    }

    /// Goes to an offset; false where time was up.
    fn go_to(&self, offset: i64) -> anyhow::Result<bool> {
        if self.consumer.assignment()?.find_partition(self.topic, self.partition).is_none() {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
            self.consumer.assign(&list)?;
        }
        // Until this is done the position is what it was before. Right after it was assigned it does not seek yet.
        while self.consumer.seek(self.topic, self.partition, Offset::Offset(offset), SEEK_TIMEOUT).is_err() {
            if Instant::now() >= self.deadline {
                return Ok(false);
            }
            sleep(STEP);
        }
        Ok(true)
    }

    /// The offset behind what was last handed out, or gone past.
    fn position(&self) -> anyhow::Result<Option<i64>> {
        let positions = self.consumer.position()?;
        let position = positions.find_partition(self.topic, self.partition).and_then(|found| found.offset().to_raw());
        Ok(position.filter(|position| *position >= 0))
    }
}

/// A range, and how far it is read. Pure.
#[derive(Debug)]
struct Walk {
    at: i64,
    end: i64,
    missing: Vec<Range<i64>>,
}

impl Walk {
    fn new(range: Range<i64>) -> Self {
        Self { at: range.start, end: range.end, missing: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// The client has gone that far: a marker stands before it, where no record did.
    fn position(&mut self, position: i64) {
        self.record(position - 1);
    }

    /// A record stands there.
    fn record(&mut self, offset: i64) {
        if offset >= self.at {
            let until = offset.min(self.end);
            if self.at < until {
                self.missing.push(self.at..until);
            }
            // What stands behind the end was not read.
            self.at = (offset + 1).min(self.end);
        }
    }
}

#[cfg(test)]
mod tests;
