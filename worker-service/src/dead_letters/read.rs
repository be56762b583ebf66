//! Reads a topic or a part of it: the dead-letter topic, and for `seek` the input topic. Blocks its thread.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::unreadable::{self, Unreadable, is_unreadable};
use shared::kafka::{ADMIN_TIMEOUT, LogContext, PlainConsumer, Record};

/// After this long without a record, Kafka counts as down.
const STALL: Duration = Duration::from_secs(30);
/// After this long without a record or an error, checks whether the next record is unreadable.
const SILENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(200);

/// A range of a partition: from the first offset, up to and without the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Only one partition, or one offset of it.
pub(crate) type Only = Option<(i32, Option<i64>)>;

enum Read {
    All,
    /// `visit` needs no more records.
    Enough,
    /// The record at this offset, or one after it, cannot be read. No error: the client returned nothing.
    UpTo(i64, Option<KafkaError>),
}

/// A reader of one topic that belongs to no group and commits nothing.
pub(crate) struct Reader {
    client: ClientConfig,
    pub(crate) consumer: PlainConsumer,
    topic: String,
    group: String,
    unreadable: RefCell<Vec<(i32, Unreadable)>>,
}

impl Reader {
    /// librdkafka requires a group name; the group is not joined. The worker's own group is one that this user may use.
    pub(crate) fn open(client: &ClientConfig, topic: &str, group: &str) -> anyhow::Result<Self> {
        // The client's default, explicit because the end offsets depend on it: they are the last stable offsets.
        Self::isolated(client, topic, group, "read_committed")
    }

    /// The same of all records, those of open and of aborted transactions too.
    pub(crate) fn of_all(client: &ClientConfig, topic: &str, group: &str) -> anyhow::Result<Self> {
        Self::isolated(client, topic, group, "read_uncommitted")
    }

    fn isolated(client: &ClientConfig, topic: &str, group: &str, isolation: &str) -> anyhow::Result<Self> {
        let mut config = client.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            // The worker's own prefetch limits. librdkafka counts only the bytes of values, so large keys or headers
            // need a limit of their number, too.
            .set("queued.max.messages.kbytes", "2048")
            .set("queued.min.messages", "8")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.max.bytes", "8388608")
            .set("max.partition.fetch.bytes", "262144")
            .set("fetch.wait.max.ms", "100");
        let consumer = config.create_with_context(LogContext).context("cannot create a Kafka client")?;
        let (client, topic, group) = (client.clone(), topic.to_owned(), group.to_owned());
        Ok(Self { client, consumer, topic, group, unreadable: RefCell::default() })
    }

    /// The readable ranges now: of all partitions, of one, or one offset.
    pub(crate) fn spans(&self, only: Only) -> anyhow::Result<Vec<Span>> {
        self.bounds(&self.consumer, only)
    }

    /// The same, and the ranges that cannot be read yet, because an open transaction precedes them.
    pub(crate) fn spans_and_unstable(&self, only: Only) -> anyhow::Result<(Vec<Span>, Vec<Span>)> {
        let mut config = self.client.clone();
        let whole = config
            .set("isolation.level", "read_uncommitted")
            .create_with_context(LogContext)
            .context("cannot create a Kafka client")?;
        // The log ends first, so that records that arrive in between do not count as unstable.
        let whole = self.bounds(&whole, only)?;
        let spans = self.spans(only)?;
        let unstable: Vec<_> = spans
            .iter()
            .filter_map(|span| {
                let to = whole.iter().find(|whole| whole.partition == span.partition)?.to;
                let from = span.to.max(span.from);
                (from < to).then_some(Span { partition: span.partition, from, to })
            })
            .collect();
        Ok((spans, unstable))
    }

    fn bounds(&self, consumer: &PlainConsumer, only: Only) -> anyhow::Result<Vec<Span>> {
        let metadata =
            consumer.fetch_metadata(Some(&self.topic), ADMIN_TIMEOUT).context("cannot read the topic's metadata")?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let mut partitions: Vec<_> =
            topic.into_iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        anyhow::ensure!(!partitions.is_empty(), "the topic {} does not exist: run `worker-service setup`", self.topic);
        partitions.sort_unstable();
        if let Some((wanted, _)) = only {
            partitions.retain(|partition| *partition == wanted);
            anyhow::ensure!(!partitions.is_empty(), "the topic {} has no partition {wanted}", self.topic);
        }
        let mut spans = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition, ADMIN_TIMEOUT)
                .with_context(|| format!("cannot read the offsets of partition {partition}"))?;
            let (from, to) = match only {
                Some((_, Some(offset))) => (low.max(offset), high.min(offset.saturating_add(1))),
                _ => (low, high),
            };
            spans.push(Span { partition, from, to });
        }
        Ok(spans)
    }

    /// Passes the records to `visit` in order until it returns `false`; returns whether it wanted more. Logs unreadable
    /// records, and skips them.
    pub(crate) fn read(&self, span: Span, mut visit: impl FnMut(Record) -> bool) -> anyhow::Result<bool> {
        let (mut from, mut refused, mut silent) = (span.from, None, None);
        while from < span.to {
            match self.read_from(Span { from, ..span }, silent, &mut visit)? {
                Read::All => return Ok(true),
                Read::Enough => return Ok(false),
                Read::UpTo(at, Some(error)) if refused == Some(at) => {
                    // The check found it readable, but reading failed again.
                    anyhow::bail!("reading {} [{}] at {at}: {error}", self.topic, span.partition);
                }
                Read::UpTo(at, error) => {
                    *if error.is_some() { &mut refused } else { &mut silent } = Some(at);
                    from = self.note_unreadable(Span { from: at, ..span })?;
                }
            }
        }
        Ok(true)
    }

    /// Logs the unreadable records at the beginning of a range; returns the first readable offset.
    fn note_unreadable(&self, span: Span) -> anyhow::Result<i64> {
        let Span { partition, from, to } = span;
        let found = unreadable::from(&self.client, &self.group, &self.topic, partition, from, to)?;
        for unreadable in &found {
            let Unreadable { from, to, error, .. } = unreadable;
            let topic = self.topic.as_str();
            tracing::error!(
                topic,
                partition,
                from_offset = from,
                offsets = to - from,
                error,
                "skipping records that cannot be read"
            );
        }
        // If the check found nothing unreadable, reading starts again at the same offset.
        let next = found.last().map_or(from, |last| last.to);
        self.unreadable.borrow_mut().extend(found.into_iter().map(|found| (partition, found)));
        Ok(next)
    }

    /// The first unreadable offset that was met in a partition.
    pub(crate) fn first_unreadable(&self, partition: i32) -> Option<i64> {
        let all = self.unreadable.borrow();
        all.iter().filter(|(of, _)| *of == partition).map(|(_, found)| found.from).min()
    }

    /// Why this offset could not be read, if that was met.
    pub(super) fn why_unreadable(&self, partition: i32, offset: i64) -> Option<String> {
        let all = self.unreadable.borrow();
        let found = all.iter().find(|(of, found)| *of == partition && (found.from..found.to).contains(&offset));
        found.map(|(_, found)| found.error.clone())
    }

    /// `silent` is the offset that was checked after a silence: it is not checked again, only [`STALL`] limits the
    /// wait.
    fn read_from(
        &self,
        span: Span,
        silent: Option<i64>,
        visit: &mut impl FnMut(Record) -> bool,
    ) -> anyhow::Result<Read> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, span.partition, Offset::Offset(span.from))?;
        self.consumer.assign(&list)?;
        let mut next = span.from;
        let mut since = Instant::now();
        let mut trouble = None;
        loop {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) if message.partition() != span.partition => continue,
                Some(Ok(message)) if message.offset() >= span.to => return Ok(Read::All),
                Some(Ok(message)) => {
                    next = message.offset() + 1;
                    if !visit(Record::of(message)) {
                        return Ok(Read::Enough);
                    }
                    if next == span.to {
                        return Ok(Read::All);
                    }
                    since = Instant::now();
                }
                // The range may end in a gap: its last record is gone.
                Some(Err(KafkaError::PartitionEOF(partition))) if partition == span.partition => return Ok(Read::All),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) if is_unreadable(&error) => return Ok(Read::UpTo(next, Some(error))),
                Some(Err(error)) => trouble = Some(error),
                None => {}
            }
            if since.elapsed() > SILENCE && trouble.is_none() && silent != Some(next) {
                return Ok(Read::UpTo(next, None));
            }
            if since.elapsed() > STALL {
                let why = trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
                anyhow::bail!("reading {} [{}]: {why}", self.topic, span.partition);
            }
        }
    }

    /// One record, if it exists.
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
