//! Finds single records that librdkafka cannot parse and does not report.
//!
//! An example is a key or a value with the length -2: brokers accept it as null. librdkafka takes the record for the
//! end of a truncated response, which is not an error, and fetches the same offset again, forever. It can read from the
//! next offset on, even in the same batch, because it skips earlier records by their length.
//!
//! Missing records alone prove nothing: a broker may be slow. But the client counts truncated responses, and brokers
//! return the first batch as a whole, whatever the size limit. So if a client of one partition counts several truncated
//! responses in a row without any record, the record is malformed. Its batch has a valid checksum (`check.crcs`), so it
//! was written malformed, and all replicas have the same bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kafka::{self, Detached};
use anyhow::Context as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use serde::Deserialize;

use super::{Content, PROBE_TIMEOUT, is_unreadable};

/// The truncated responses in a row that prove a malformed record. The client doubles the fetch size each time, from
/// 1 KiB to more than the largest batch, in case a broker does not return a batch as a whole.
const CUT: u64 = 16;
const FIRST_BYTES: &str = "1024";
/// How often the client reports its statistics.
const TELL_MILLIS: &str = "100";
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Prober<'a> {
    consumer: Detached<BaseConsumer<Counts>>,
    topic: &'a str,
    partition: i32,
}

#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    /// The responses that the client considered truncated.
    cut: AtomicU64,
    /// The offset from which the client fetches next. The client itself skips offsets without records.
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

/// The statistics also have a partition -1, which fetches nothing.
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

    /// Reads from an offset; `None` if the client reports that it cannot read it.
    pub(super) fn look_at(&self, offset: i64) -> anyhow::Result<Option<Content>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)?;
        let counts = self.consumer.context();
        // The first statistics may be older than the assignment.
        let mut count = Count::new(counts.told.load(Ordering::Relaxed) + 2);
        let (deadline, mut trouble) = (Instant::now() + PROBE_TIMEOUT, None);
        while Instant::now() < deadline {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) if message.offset() >= offset => return Ok(Some(Content::Readable)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Some(Content::Readable)),
                Some(Err(error)) if is_unreadable(&error) => return Ok(None),
                Some(Err(error)) => trouble = Some(error.to_string()),
                Some(Ok(_)) | None => {}
            }
            let next = counts.next.load(Ordering::Relaxed);
            if count.are_enough(counts.told.load(Ordering::Relaxed), next, counts.cut.load(Ordering::Relaxed)) {
                return Ok(Some(Content::Malformed(next.max(offset))));
            }
        }
        let why = trouble.unwrap_or_else(|| "no answer".to_owned());
        anyhow::bail!("reading {} [{}] at {offset}: {why}", self.topic, self.partition)
    }

    /// Stops fetching until the next `look_at`.
    pub(super) fn rest(&self) -> anyhow::Result<()> {
        Ok(self.consumer.unassign()?)
    }
}

/// Counts the truncated responses for one offset, from the client's report number `from` on. No I/O.
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
