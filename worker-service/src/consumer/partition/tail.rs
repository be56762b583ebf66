//! Reads the offsets behind the last record of a partition with a separate consumer.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::unreadable::{self, Unreadable};
use shared::kafka::{LogContext, PlainConsumer};
use tokio::task::JoinHandle;

/// How long the reader may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// If it gets neither a record nor an error for this long, the raw batches are read.
const SILENCE: Duration = Duration::from_secs(1);
/// The most offsets that are read at once.
const MOST_AT_ONCE: i64 = 100;

/// The state of the offsets behind the last record.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// When the client was last asked for its position.
    pub(super) looked: Option<Instant>,
    /// The partition's position, and since when.
    pub(super) stands: Option<(Option<i64>, Instant)>,
    pub(super) read: Option<Instant>,
    pub(super) reading: Option<TailRead>,
    /// When a record that cannot be read was last found.
    pub(super) met_unreadable: Option<Instant>,
}

/// A read from an offset on.
#[derive(Debug)]
pub(super) struct TailRead {
    pub(super) from: Option<i64>,
    pub(super) task: JoinHandle<anyhow::Result<TailContent>>,
}

/// The result of the separate consumer.
#[derive(Debug)]
pub(super) enum TailContent {
    /// Records; the partition's own consumer will get them.
    Records,
    /// No record before this offset.
    Nothing(i64),
    Unreadable(Unreadable),
}

/// Reads a partition from one offset up to, but not including, another one, which is not after its end.
pub(super) fn read_tail(
    client: &ClientConfig,
    group: &str,
    topic: &str,
    partition: i32,
    from: Option<i64>,
    to: i64,
) -> anyhow::Result<TailContent> {
    let mut settings = client.clone();
    settings
        // The client needs a name. The group is not joined, and nothing is committed.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.wait.max.ms", "100");
    let consumer: PlainConsumer = settings.create_with_context(LogContext).context("cannot create a Kafka client")?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from.map_or(Offset::Beginning, Offset::Offset))?;
    consumer.assign(&list)?;
    let (began, mut trouble) = (Instant::now(), None);
    while began.elapsed() < READ_TIMEOUT {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.offset() >= to => return Ok(TailContent::Nothing(to)),
            Some(Ok(_)) => return Ok(TailContent::Records),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(TailContent::Nothing(to)),
            Some(Err(error)) => trouble = Some(error),
            None if trouble.is_none() && began.elapsed() >= SILENCE => {
                let at = match from {
                    Some(from) => from,
                    None => consumer.fetch_watermarks(topic, partition, READ_TIMEOUT)?.0,
                };
                // Otherwise the consumer would continue fetching.
                consumer.unassign()?;
                let end = to.min(at.saturating_add(MOST_AT_ONCE));
                let found = unreadable::from(client, group, topic, partition, at, end)?;
                return Ok(found.into_iter().next().map_or(TailContent::Records, TailContent::Unreadable));
            }
            None => {}
        }
    }
    let why = trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
    anyhow::bail!("{topic} [{partition}] from {from:?} on: {why}")
}
