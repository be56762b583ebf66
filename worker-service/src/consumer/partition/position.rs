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

use super::offset_tracker::OffsetTracker;
use super::{LOOK, PartitionRunner};
use crate::consumer::handler::Handler;
use crate::scheduler::Scheduler;
use shared::kafka::unreadable::{self, Unreadable};

/// How long a partition has to be behind its end before it is read by another reader.
const READ_AFTER: Duration = Duration::from_secs(10);
/// How long after that it is read again, where there was no answer, or where it is behind again.
const READ_INTERVAL: Duration = Duration::from_secs(30);
/// The same for so long after a record that could not be read: there may be many.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
const RECENT: Duration = Duration::from_secs(60);
/// How long the reader may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Where it was handed nothing for so long, neither a record nor an error, what stands there is looked at.
const SILENCE: Duration = Duration::from_secs(1);
/// The most offsets that are looked at in one go.
const MOST_AT_ONCE: i64 = 100;

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
    /// When it last met a record that cannot be read.
    pub(super) met_unreadable: Option<Instant>,
}

/// What stands from an offset on.
#[derive(Debug)]
struct Reading {
    from: Option<i64>,
    task: JoinHandle<anyhow::Result<Behind>>,
}

/// What another reader found.
#[derive(Debug)]
enum Behind {
    /// Records, which are on their way.
    Records,
    /// No record before this offset.
    Nothing(i64),
    /// What cannot be read.
    Unreadable(Unreadable),
}

impl<H: Handler> PartitionRunner<H> {
    /// Moves a partition without anything to do, but for what is held, past what is no record; says whether it did. At
    /// most once a second.
    pub(super) async fn move_on(&self, scheduler: &mut Scheduler<H::Event>, progress: &mut OffsetTracker<'_>) -> bool {
        let beyond = &mut progress.beyond;
        if !scheduler.is_idle()
            || scheduler.is_paused()
            || progress.put_off.is_some()
            || progress.return_to.is_some()
            // Another reader would not read it either, and unpack it once more.
            || progress.unreadable.is_some_and(|said| said.elapsed() < READ_INTERVAL)
            || beyond.looked.is_some_and(|looked| looked.elapsed() < LOOK)
        {
            return false;
        }
        beyond.looked = Some(Instant::now());
        progress.rest();
        let beyond = &mut progress.beyond;
        let here = scheduler.read_to().or(progress.expected);
        let position = self.position().await;
        let to = match self.read_on(here, beyond).await {
            Some(Behind::Unreadable(unreadable)) if position <= here => {
                return self.meet_unreadable(here, unreadable, scheduler, progress).await;
            }
            Some(Behind::Nothing(to)) => position.max(Some(to)),
            _ => position,
        };
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
            scheduler.reach(to);
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

    /// Where the partition has stood still for longer before its end: what another reader found there.
    async fn read_on(&self, here: Option<i64>, beyond: &mut Beyond) -> Option<Behind> {
        if let Some(reading) = beyond.reading.take_if(|reading| reading.task.is_finished()) {
            let Reading { from, task } = reading;
            match task.await {
                Ok(Ok(behind)) if from == here => return Some(behind),
                // Records came meanwhile.
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
        let (after, interval) = match beyond.met_unreadable {
            Some(met) if met.elapsed() < RECENT => (READ_AGAIN_AFTER, READ_AGAIN_AFTER),
            _ => (READ_AFTER, READ_INTERVAL),
        };
        let is_due = since.elapsed() >= after && beyond.read.is_none_or(|read| read.elapsed() >= interval);
        if is_behind && is_due && beyond.reading.is_none() {
            beyond.read = Some(Instant::now());
            let (client, group, topic) =
                (self.dependencies.client.clone(), self.dependencies.source.group.clone(), self.topic.clone());
            let partition = self.partition;
            // The end was measured before this begins: whatever stands before it is there.
            let read = move || look_behind(&client, &group, &topic, partition, here, end);
            beyond.reading = Some(Reading { from: here, task: tokio::task::spawn_blocking(read) });
        }
        None
    }
}

/// What a partition has from the one offset to before the other, which is no later than its end.
fn look_behind(
    client: &ClientConfig,
    group: &str,
    topic: &str,
    partition: i32,
    from: Option<i64>,
    to: i64,
) -> anyhow::Result<Behind> {
    let mut settings = client.clone();
    settings
        // Only a name that the client wants: the group is not joined, and nothing is committed for it.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.wait.max.ms", "100");
    let consumer: PlainConsumer = settings.create_with_context(LogContext).context("the Kafka settings")?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from.map_or(Offset::Beginning, Offset::Offset))?;
    consumer.assign(&list)?;
    let (began, mut trouble) = (Instant::now(), None);
    while began.elapsed() < READ_TIMEOUT {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.offset() >= to => return Ok(Behind::Nothing(to)),
            Some(Ok(_)) => return Ok(Behind::Records),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Behind::Nothing(to)),
            Some(Err(error)) => trouble = Some(error),
            None if trouble.is_none() && began.elapsed() >= SILENCE => {
                let at = match from {
                    Some(from) => from,
                    None => consumer.fetch_watermarks(topic, partition, READ_TIMEOUT)?.0,
                };
                // It would fetch on, as often as it can.
                consumer.unassign()?;
                let end = to.min(at.saturating_add(MOST_AT_ONCE));
                let found = unreadable::from(client, group, topic, partition, at, end)?;
                return Ok(found.into_iter().next().map_or(Behind::Records, Behind::Unreadable));
            }
            None => {}
        }
    }
    let why = trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
    anyhow::bail!("{topic} [{partition}] from {from:?} on: {why}")
}
