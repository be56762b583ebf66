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
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::topic::{Fetched, next_fetched};

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
    consumer: Mutex<Option<BaseConsumer>>,
}

/// What was found in gaps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Offsets that hold nothing, in order.
    pub(super) missing: Vec<Range<i64>>,
    /// Gaps for which there was no time.
    pub(super) left: Vec<Range<i64>>,
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

    /// Reads gaps, which are in order, for so long at most, from when nobody else does. Blocks its thread.
    ///
    /// # Errors
    /// Kafka away, or something in a gap cannot be read.
    pub(super) fn read(
        &self,
        topic: &str,
        partition: i32,
        gaps: &[Range<i64>],
        timeout: Duration,
    ) -> anyhow::Result<Found> {
        if gaps.is_empty() {
            return Ok(Found::default());
        }
        let mut kept = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match kept.take() {
            Some(consumer) => consumer,
            None => self.client.create().context("the Kafka settings")?,
        };
        let mut found = Found::default();
        let deadline = Instant::now() + timeout;
        let reading = Reading { consumer: &consumer, topic, partition, deadline };
        let mut close = close(gaps).into_iter();
        for gap in close.by_ref() {
            match reading.missing(gap.clone())? {
                Some(missing) => found.missing.extend(missing),
                None => {
                    found.left.push(gap);
                    break;
                }
            }
        }
        found.left.extend(close);
        consumer.unassign()?;
        // One that failed is made anew.
        *kept = Some(consumer);
        Ok(found)
    }
}

/// The gaps with those that are close to each other in one.
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

struct Reading<'a> {
    consumer: &'a BaseConsumer,
    topic: &'a str,
    partition: i32,
    deadline: Instant,
}

impl Reading<'_> {
    /// What holds nothing, by the agreement of several looks; none where time was up.
    fn missing(&self, gap: Range<i64>) -> anyhow::Result<Option<Vec<Range<i64>>>> {
        let mut missing = vec![gap];
        for _ in 0..LOOKS {
            let mut still = Vec::new();
            for range in missing {
                match self.walk(range)? {
                    Some(found) => still.extend(found),
                    None => return Ok(None),
                }
            }
            missing = still;
        }
        Ok(Some(missing))
    }

    /// What seems to hold nothing; none where time was up.
    fn walk(&self, range: Range<i64>) -> anyhow::Result<Option<Vec<Range<i64>>>> {
        if !self.go_to(range.start)? {
            return Ok(None);
        }
        let (mut walk, mut trouble) = (Walk::new(range), None);
        while !walk.is_done() {
            if Instant::now() >= self.deadline {
                return trouble.map_or(Ok(None), |why| Err(anyhow::anyhow!("reading a gap: {why}")));
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
                        trouble = Some("the log ends in it".to_owned());
                    }
                    sleep(STEP);
                }
            }
        }
        Ok(Some(walk.missing))
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

    /// A record stands there.
    fn record(&mut self, offset: i64) {
        self.there(offset);
    }

    /// The client has gone that far: a marker stands before it, where no record did.
    fn position(&mut self, position: i64) {
        self.there(position - 1);
    }

    fn there(&mut self, offset: i64) {
        if offset >= self.at {
            let until = offset.min(self.end);
            if self.at < until {
                self.missing.push(self.at..until);
            }
            self.at = offset + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_that_are_close_are_read_in_one_go() {
        assert_eq!(close(&[0..1, 3..4, 20..22, 30..31]), [0..4, 20..31]);
        assert_eq!(close(&[]), []);
    }

    proptest! {
        /// A log of records, markers and nothing.
        #[test]
        fn what_holds_nothing_is_missing_and_nothing_else(
            log in prop::collection::vec(0..3u8, 1..60), before in 0..5i64, behind in 1..5i64
        ) {
            let end = before + i64::try_from(log.len()).unwrap();
            let mut walk = Walk::new(before..end);
            for (offset, what) in (before..).zip(&log) {
                match what {
                    0 => {}
                    1 => {
                        walk.record(offset);
                        // It is looked at in between, too.
                        walk.position(offset + 1);
                    }
                    _ => walk.position(offset + 1),
                }
            }
            walk.record(end + behind - 1);
            prop_assert!(walk.is_done());
            let missing: Vec<_> = walk.missing.into_iter().flatten().collect();
            let expected: Vec<_> = (before..).zip(&log).filter(|(_, what)| **what == 0).map(|(at, _)| at).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
