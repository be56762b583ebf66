//! What stands behind the last record and is none: markers of transactions, records that were aborted or compacted
//! away. A partition that has come to its end is moved past them, or it would seem to be behind for ever.
//!
//! The client knows how far it has read past markers, and tells it without asking anybody. Of records that were
//! aborted, and whose marker cannot be read yet because another transaction is open before it, it does not tell, nor
//! of a gap at the end. So where a partition stays behind for longer, a reader of its own reads what is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::{LogContext, PlainConsumer};
use tokio::task::JoinHandle;

use super::progress::Progress;
use super::{Driver, LOOK};
use crate::lane::Lane;

/// How long a partition has to be behind its end before it is read by another reader.
const READ_AFTER: Duration = Duration::from_secs(10);
/// How long after that it is read again, where there was no answer, or where it is behind again.
const READ_INTERVAL: Duration = Duration::from_secs(30);
/// How long the reader may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found out of what stands behind the last record.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// When the client was last asked for its position.
    looked: Option<Instant>,
    /// Where the partition stands, and since when.
    stands: Option<(Option<i64>, Instant)>,
    /// When it was last read.
    read: Option<Instant>,
    /// The reading that is under way.
    reading: Option<Reading>,
}

/// Whether there is a record from the one offset to before the other.
#[derive(Debug)]
struct Reading {
    from: Option<i64>,
    to: i64,
    task: JoinHandle<anyhow::Result<bool>>,
}

impl Driver {
    /// Moves a partition without anything to do, but for what is held, past what is no record; says whether it did. At
    /// most once a second.
    pub(super) async fn move_on(&self, lane: &mut Lane, progress: &mut Progress<'_>) -> bool {
        let beyond = &mut progress.beyond;
        if !lane.is_idle()
            || lane.is_paused()
            || progress.put_off.is_some()
            // Another reader would not read it either, and unpack it once more.
            || progress.unreadable.is_some_and(|said| said.elapsed() < READ_INTERVAL)
            || beyond.looked.is_some_and(|looked| looked.elapsed() < LOOK)
        {
            return false;
        }
        beyond.looked = Some(Instant::now());
        let here = lane.read_to().or(progress.expected);
        let to = self.position().await.max(self.read_on(here, beyond).await);
        if to <= here {
            return false;
        }
        if let Some(to) = to {
            tracing::debug!(partition = self.partition, from = here, to, "moved past offsets without a record");
            // Nothing tells by itself whether markers stood there or records that are gone: the same is asked as
            // where a record comes behind a gap.
            if let Some(here) = here {
                progress.gaps.met(here, to);
            }
            lane.reach(to);
            progress.reach(to);
        }
        true
    }

    /// How far the client has handed over the partition, markers included. Nobody takes records from the queue
    /// meanwhile, so all before it came in.
    async fn position(&self) -> Option<i64> {
        let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
        let told = tokio::task::spawn_blocking(move || {
            let positions = consumer.position().ok()?;
            positions.find_partition(&topic, partition).and_then(|found| found.offset().to_raw())
        });
        // An offset that is none yet is negative.
        told.await.ok().flatten().filter(|offset| *offset >= 0)
    }

    /// Where the partition has stood still for longer before its end: up to where another reader found no record.
    async fn read_on(&self, here: Option<i64>, beyond: &mut Beyond) -> Option<i64> {
        if let Some(reading) = beyond.reading.take_if(|reading| reading.task.is_finished()) {
            let Reading { from, to, task } = reading;
            match task.await {
                Ok(Ok(true)) if from == here => return Some(to),
                // There are records, which are on their way; or they came meanwhile.
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(partition = self.partition, error = format!("{error:#}"), "reading on");
                }
                Err(error) => tracing::warn!(partition = self.partition, %error, "reading on"),
            }
        }
        let since = match beyond.stands {
            Some((at, since)) if at == here => since,
            _ => beyond.stands.insert((here, Instant::now())).1,
        };
        let end = self.signals.stable_end.load(Ordering::Relaxed);
        let is_behind = here.map_or(end > 0, |here| here < end);
        let is_due = since.elapsed() >= READ_AFTER && beyond.read.is_none_or(|read| read.elapsed() >= READ_INTERVAL);
        if is_behind && is_due && beyond.reading.is_none() {
            beyond.read = Some(Instant::now());
            let (client, group, topic) = (self.tools.client.clone(), self.tools.group.clone(), self.topic.clone());
            let partition = self.partition;
            // The end was measured before this begins: whatever stands before it is there.
            let read = move || is_empty(client, &group, &topic, partition, here, end);
            beyond.reading = Some(Reading { from: here, to: end, task: tokio::task::spawn_blocking(read) });
        }
        None
    }
}

/// Whether a partition has no record from the one offset to before the other, which is no later than its end.
fn is_empty(
    mut client: ClientConfig,
    group: &str,
    topic: &str,
    partition: i32,
    from: Option<i64>,
    to: i64,
) -> anyhow::Result<bool> {
    client
        // Only a name that the client wants: the group is not joined, and nothing is committed for it.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.wait.max.ms", "100");
    let consumer: PlainConsumer = client.create_with_context(LogContext).context("the Kafka settings")?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from.map_or(Offset::Beginning, Offset::Offset))?;
    consumer.assign(&list)?;
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut trouble = None;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => return Ok(message.offset() >= to),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(true),
            Some(Err(error)) => trouble = Some(error),
            None => {}
        }
    }
    let why = trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
    anyhow::bail!("{topic} [{partition}] from {from:?} on: {why}")
}
