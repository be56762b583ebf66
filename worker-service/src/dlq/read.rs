//! Reads the dead-letter topic, or a piece of it. Blocks its thread.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::ADMIN_TIMEOUT;
use shared::topic::Record;

/// Without a record for so long, Kafka is taken to be away.
const STALL: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// A piece of a partition: from the first offset to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// One partition alone, or one offset of it.
pub(super) type Only = Option<(i32, Option<i64>)>;

/// A reader of one topic that belongs to no group and commits nothing.
pub(super) struct Reader {
    client: ClientConfig,
    consumer: BaseConsumer,
    topic: String,
}

impl Reader {
    /// The group is only a name that librdkafka wants; it is not joined. The worker's own is one that
    /// this user may surely use.
    pub(super) fn open(client: &ClientConfig, topic: &str, group: &str) -> anyhow::Result<Self> {
        let mut config = client.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // The client's default, said here because the ends are asked by it: they are the last stable offsets.
            .set("isolation.level", "read_committed")
            // The worker's own bounds of what is fetched ahead: of values alone the bytes are counted, so that letters
            // with large keys or headers need a bound on their number too.
            .set("queued.max.messages.kbytes", "2048")
            .set("queued.min.messages", "8")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.max.bytes", "8388608")
            .set("max.partition.fetch.bytes", "262144")
            .set("fetch.wait.max.ms", "100");
        let consumer = config.create().context("the Kafka settings")?;
        Ok(Self { client: client.clone(), consumer, topic: topic.to_owned() })
    }

    /// What can be read of the topic now: all of it, one partition, or one offset of it.
    pub(super) fn spans(&self, only: Only) -> anyhow::Result<Vec<Span>> {
        self.bounds(&self.consumer, only)
    }

    /// The same, and with it what cannot be read yet, because it stands behind the beginning of a transaction that is
    /// open.
    pub(super) fn spans_and_unstable(&self, only: Only) -> anyhow::Result<(Vec<Span>, Vec<Span>)> {
        let mut config = self.client.clone();
        let whole = config.set("isolation.level", "read_uncommitted").create().context("the Kafka settings")?;
        // The log's end first: what comes in between is not taken for unstable.
        let whole = self.bounds(&whole, only)?;
        let spans = self.spans(only)?;
        let unstable = spans.iter().filter_map(|span| {
            let to = whole.iter().find(|whole| whole.partition == span.partition)?.to;
            let from = span.to.max(span.from);
            (from < to).then_some(Span { partition: span.partition, from, to })
        });
        let unstable = unstable.collect();
        Ok((spans, unstable))
    }

    fn bounds(&self, consumer: &BaseConsumer, only: Only) -> anyhow::Result<Vec<Span>> {
        let metadata = consumer.fetch_metadata(Some(&self.topic), ADMIN_TIMEOUT).context("asking Kafka")?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let mut partitions: Vec<_> =
            topic.into_iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        anyhow::ensure!(!partitions.is_empty(), "there is no topic {}: run `worker-service setup`", self.topic);
        partitions.sort_unstable();
        if let Some((wanted, _)) = only {
            partitions.retain(|partition| *partition == wanted);
            anyhow::ensure!(!partitions.is_empty(), "the topic {} has no partition {wanted}", self.topic);
        }
        let mut spans = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition, ADMIN_TIMEOUT)
                .with_context(|| format!("asking Kafka for partition {partition}"))?;
            let (from, to) = match only {
                Some((_, Some(offset))) => (low.max(offset), high.min(offset.saturating_add(1))),
                _ => (low, high),
            };
            spans.push(Span { partition, from, to });
        }
        Ok(spans)
    }

    /// Hands over what is there, in order, until `visit` has enough; says whether it wanted more.
    pub(super) fn read(&self, span: Span, mut visit: impl FnMut(Record) -> bool) -> anyhow::Result<bool> {
        if span.from >= span.to {
            return Ok(true);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, span.partition, Offset::Offset(span.from))?;
        self.consumer.assign(&list)?;
        let mut since = Instant::now();
        let mut trouble = None;
        loop {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    if message.partition() != span.partition {
                        continue;
                    }
                    if message.offset() >= span.to {
                        return Ok(true);
                    }
                    let last = message.offset() + 1 == span.to;
                    if !visit(Record::of(message)) {
                        return Ok(false);
                    }
                    if last {
                        return Ok(true);
                    }
                    since = Instant::now();
                }
                // The end may be a gap: what was there last is gone.
                Some(Err(KafkaError::PartitionEOF(partition))) if partition == span.partition => return Ok(true),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => trouble = Some(error),
                None => {}
            }
            if since.elapsed() > STALL {
                let why = trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
                anyhow::bail!("reading {} [{}]: {why}", self.topic, span.partition);
            }
        }
    }

    /// One record, if it is there.
    pub(super) fn one(&self, partition: i32, offset: i64) -> anyhow::Result<Option<Record>> {
        let mut found = None;
        for span in self.spans(Some((partition, Some(offset))))? {
            self.read(span, |record| {
                found = (record.offset == offset).then_some(record);
                false
            })?;
        }
        Ok(found)
    }
}
