//! Finds out what is in a gap. Each offset of a log that was never compacted holds a record or a transaction marker, so
//! an offset with neither is a lost record, whatever the topic's settings are now.
//!
//! The worker's own client returns neither markers nor aborted records. A `read_uncommitted` reader returns aborted
//! records; it does not return markers, but its position moves past each of them. To see each position, it fetches one
//! batch at a time; a marker is a batch of its own.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::{Fetched, LogContext, PlainConsumer, next_fetched};

/// How long to wait before polling again.
const STEP: Duration = Duration::from_micros(200);
/// How long the client may take to seek.
const SEEK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an offset must be found empty. The position behind a marker is missed if the next batch arrives at the
/// wrong moment; that does not happen several times in a row.
const LOOKS: usize = 4;
/// Gaps that are at most this many offsets apart are read together, with the records between them.
const CLOSE: i64 = 10;

/// Reads gaps, those of one partition at a time. It connects on first use.
pub struct GapReader {
    client: ClientConfig,
    consumer: Mutex<Option<PlainConsumer>>,
}

/// The result of reading gaps.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GapReport {
    /// Offsets with neither a record nor a marker, in order.
    pub missing: Vec<Range<i64>>,
    /// The parts of the gaps that there was no time to read.
    pub left: Vec<Range<i64>>,
}

impl GapReader {
    /// A reader for the cluster of this client.
    pub fn new(client: &ClientConfig, group: &str) -> Self {
        let mut client = client.clone();
        client
            // The client needs a name. The group is not joined, and nothing is committed.
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true")
            // One batch at a time: the broker returns the first batch in full, however large, and no other.
            .set("fetch.message.max.bytes", "1")
            .set("queued.min.messages", "1")
            .set("fetch.queue.backoff.ms", "1")
            .set("fetch.wait.max.ms", "100");
        Self { client, consumer: Mutex::new(None) }
    }

    /// Reads gaps for at most `timeout`, once no other partition uses the reader. The parts that were read need not be
    /// read again. Fails if the beginning of the first gap cannot be read. Blocks its thread.
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
            // After an error the consumer is dropped, and the next call creates a new one.
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

/// Merges gaps that are close to each other; they must be in order.
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

/// Reads gaps, which must be in order, by walks that end when time is up; also returns the error if one stopped it.
/// Offsets between close gaps are read, too, but are never reported as missing or left: they were consumed.
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

/// How far ranges are explained, and the missing offsets before that.
struct Explained {
    reached: i64,
    missing: Vec<Range<i64>>,
}

impl Explained {
    /// Explains a range. An offset is missing if `looks` walks in a row find it empty. False if time was up.
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

/// Sorts ranges and merges those that overlap.
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

/// The parts of ranges at an offset or behind it.
pub(super) fn behind(ranges: &[Range<i64>], offset: i64) -> Vec<Range<i64>> {
    ranges.iter().filter(|range| offset < range.end).map(|range| range.start.max(offset)..range.end).collect()
}

/// The intersection of ranges and others, which must all be in order.
fn common(ranges: &[Range<i64>], others: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut common = Vec::new();
    for range in ranges {
        let first = others.partition_point(|other| other.end <= range.start);
        let met = others.iter().skip(first).take_while(|other| other.start < range.end);
        common.extend(met.map(|other| range.start.max(other.start)..range.end.min(other.end)));
    }
    common
}

/// The ranges without the others; all must be in order.
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
    /// Reads until there is a hole, or the end is reached, or time is up.
    fn walk(&self, range: Range<i64>) -> anyhow::Result<Walk> {
        let (mut walk, mut trouble) = (Walk::new(range.clone()), None);
        if !self.go_to(range.start)? {
            return Ok(walk);
        }
        while !walk.is_done() && walk.missing.is_empty() {
            if Instant::now() >= self.deadline {
                // Offsets read before the error count; the next walk starts at the error.
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
                        // A new leader may not know its high watermark yet.
                        trouble = Some("the log ends in the gap".to_owned());
                    }
                    sleep(STEP);
                }
            }
        }
        Ok(walk)
    }

    /// Seeks to an offset; false if time was up.
    fn go_to(&self, offset: i64) -> anyhow::Result<bool> {
        if self.consumer.assignment()?.find_partition(self.topic, self.partition).is_none() {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
            self.consumer.assign(&list)?;
        }
        // Until the seek is done, the position is the old one. Right after an assignment a seek still fails.
        while self.consumer.seek(self.topic, self.partition, Offset::Offset(offset), SEEK_TIMEOUT).is_err() {
            if Instant::now() >= self.deadline {
                return Ok(false);
            }
            sleep(STEP);
        }
        Ok(true)
    }

    /// The offset after the last record or marker that the client has passed.
    fn position(&self) -> anyhow::Result<Option<i64>> {
        let positions = self.consumer.position()?;
        let position = positions.find_partition(self.topic, self.partition).and_then(|found| found.offset().to_raw());
        Ok(position.filter(|position| *position >= 0))
    }
}

/// A range and how far it has been read. Pure.
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

    /// The client has reached this position: if no record is before it, a marker is.
    fn position(&mut self, position: i64) {
        self.record(position - 1);
    }

    /// There is a record at this offset.
    fn record(&mut self, offset: i64) {
        if offset >= self.at {
            let until = offset.min(self.end);
            if self.at < until {
                self.missing.push(self.at..until);
            }
            // Offsets behind the end were not read.
            self.at = (offset + 1).min(self.end);
        }
    }
}

#[cfg(test)]
mod tests;
