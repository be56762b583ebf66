//! Single records that librdkafka cannot take apart, and says nothing of.
//!
//! A key or a value whose length is -2, say: brokers take it for a null one. librdkafka takes the record for the end of
//! an answer that was cut off, which is no error for it, and fetches from its offset again, for ever. From the next
//! offset on it reads, also within the same batch, because it leaves out the records before by their length.
//!
//! Silence alone proves nothing: a broker may be slow, or hold its answers back. But the client counts the answers that
//! it took for cut off, and brokers hand out a first batch whole, whatever was asked for. So where a client of one
//! partition counts one after the other, without a record in any of them, the record there is malformed. Its batch has
//! the checksum that its broker computed (`check.crcs`), so it was written so, and is the same on each replica.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kafka;
use anyhow::Context as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use serde::Deserialize;

use super::{PROBE_TIMEOUT, There, is_unreadable};

/// So many answers in a row are cut off. With each the client asks for twice as much, should the broker be one that
/// does not hand out a batch whole: from a kilobyte to more than a batch may have.
const CUT: u64 = 16;
const FIRST_BYTES: &str = "1024";
/// How often the client tells its counts.
const TELL_MILLIS: &str = "100";
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Prober<'a> {
    consumer: BaseConsumer<Counts>,
    topic: &'a str,
    partition: i32,
}

#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    /// The answers that it took for cut off.
    cut: AtomicU64,
    /// The offset from which it fetches. It goes past what is no record by itself.
    next: AtomicI64,
}

#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, Broker>,
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<String, Partition>,
}

/// It has one of the number -1 beside the one that is read, which fetches nothing.
#[derive(Deserialize)]
struct Partition {
    next_offset: i64,
}

#[derive(Deserialize)]
struct Broker {
    rxpartial: u64,
}

impl ClientContext for Counts {
    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice::<Statistics>(statistics) {
            Ok(Statistics { brokers, topics }) => {
                let partitions = topics.values().flat_map(|topic| topic.partitions.values());
                let next = partitions.map(|partition| partition.next_offset).max();
                self.next.store(next.unwrap_or(-1), Ordering::Relaxed);
                self.cut.store(brokers.values().map(|broker| broker.rxpartial).sum(), Ordering::Relaxed);
                self.told.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "cannot read the Kafka client's statistics"),
        }
    }

    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        kafka::log(level, what, detail);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log_error(&error, reason);
    }
}

impl ConsumerContext for Counts {}

impl<'a> Prober<'a> {
    pub(super) fn open(mut settings: ClientConfig, topic: &'a str, partition: i32) -> anyhow::Result<Self> {
        settings
            .set("statistics.interval.ms", TELL_MILLIS)
            .set("fetch.message.max.bytes", FIRST_BYTES)
            .set("fetch.max.bytes", "8388608");
        let consumer = settings.create_with_context(Counts::default()).context("cannot create a Kafka client")?;
        Ok(Self { consumer, topic, partition })
    }

    /// What there is from an offset on; none where the client says that it cannot read it.
    pub(super) fn look_at(&self, offset: i64) -> anyhow::Result<Option<There>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)?;
        let counts = self.consumer.context();
        // What it tells first may be older than the assignment.
        let mut count = Count::new(counts.told.load(Ordering::Relaxed) + 2);
        let (deadline, mut trouble) = (Instant::now() + PROBE_TIMEOUT, None);
        while Instant::now() < deadline {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) if message.offset() >= offset => return Ok(Some(There::Readable)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Some(There::Readable)),
                Some(Err(error)) if is_unreadable(&error) => return Ok(None),
                Some(Err(error)) => trouble = Some(error.to_string()),
                Some(Ok(_)) | None => {}
            }
            let next = counts.next.load(Ordering::Relaxed);
            if count.are_enough(counts.told.load(Ordering::Relaxed), next, counts.cut.load(Ordering::Relaxed)) {
                return Ok(Some(There::Malformed(next.max(offset))));
            }
        }
        let why = trouble.unwrap_or_else(|| "no answer".to_owned());
        anyhow::bail!("reading {} [{}] at {offset}: {why}", self.topic, self.partition)
    }

    /// Fetches nothing until it is asked again.
    pub(super) fn rest(&self) -> anyhow::Result<()> {
        Ok(self.consumer.unassign()?)
    }
}

/// The answers that were cut off since the client told its counts so often, and fetched from the same offset. Pure.
struct Count {
    from: u64,
    before: Option<(i64, u64)>,
}

impl Count {
    fn new(from: u64) -> Self {
        Self { from, before: None }
    }

    fn are_enough(&mut self, told: u64, next: i64, cut: u64) -> bool {
        if told < self.from {
            return false;
        }
        match self.before {
            Some((at, before)) if at == next => cut.saturating_sub(before) >= CUT,
            _ => {
                self.before = Some((next, cut));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_before_or_of_another_offset_do_not_count() {
        let mut count = Count::new(7);
        assert!(!count.are_enough(6, 1, 100), "what was told may be of another look");
        assert!(!count.are_enough(7, 1, 200));
        assert!(!count.are_enough(8, 1, 215));
        assert!(!count.are_enough(9, 2, 216), "the client went on");
        assert!(!count.are_enough(10, 2, 231));
        assert!(count.are_enough(11, 2, 232));
    }

    #[test]
    fn the_clients_counts_are_read() {
        let counts = Counts::default();
        let brokers = r#"{"a":{"rxpartial":3,"tx":1},"b":{"rxpartial":4}}"#;
        let topics = r#"{"t":{"partitions":{"2":{"next_offset":9},"-1":{"next_offset":-1001}}}}"#;
        counts.stats_raw(format!(r#"{{"name":"x","brokers":{brokers},"topics":{topics}}}"#).as_bytes());
        counts.stats_raw(b"?");
        assert_eq!((counts.told.into_inner(), counts.cut.into_inner(), counts.next.into_inner()), (1, 7, 9));
    }
}
