//! Asks Kafka for the offsets that fences need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::{LogContext, PlainConsumer};
use shared::runtime::lifecycle::no_result;

use super::{Offsets, PartitionOffsets};
use crate::source::Source;

/// How long Kafka may take for each request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// After this time no further request begins.
const ASK_TIMEOUT: Duration = Duration::from_secs(7);
/// The most client events that are dropped at once.
const MAX_EVENTS: usize = 1_000;

/// Takes fences in a handler's topic, and asks whether its group has passed them. Any process may do this, also one that
/// does not run the handler.
#[derive(Clone)]
pub struct OffsetFences {
    consumer: Arc<PlainConsumer>,
    topic: Arc<str>,
}

impl OffsetFences {
    /// Opens a client that reads no records. It has the group's name, to read the committed offsets, and does not join.
    pub fn open(client: &ClientConfig, source: &Source) -> anyhow::Result<Self> {
        let mut config = client.clone();
        config
            .set("group.id", &source.group)
            .set("enable.auto.commit", "false")
            // With `read_committed`, Kafka returns the last stable offset, and records of open transactions would be
            // behind the fence.
            .set("isolation.level", "read_uncommitted");
        let consumer = config.create_with_context(LogContext).context("cannot create a Kafka client")?;
        Ok(Self { consumer: Arc::new(consumer), topic: source.topics.input.as_str().into() })
    }

    /// The offsets of all partitions, all read after this was called. An error means that Kafka did not return one of
    /// them, or that the topic does not exist.
    pub async fn offsets(&self) -> anyhow::Result<Offsets> {
        let Self { consumer, topic } = self.clone();
        tokio::task::spawn_blocking(move || offsets(&consumer, &topic)).await.map_err(no_result)?
    }
}

fn offsets(consumer: &PlainConsumer, topic: &str) -> anyhow::Result<Offsets> {
    let began = Instant::now();
    // Errors of the connection: the group's consumer reports the same.
    (0..MAX_EVENTS).take_while(|_| consumer.poll(Duration::ZERO).is_some()).for_each(drop);
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).context("Kafka does not answer")?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let partitions: Vec<_> = found.into_iter().flat_map(|found| found.partitions()).map(|one| one.id()).collect();
    anyhow::ensure!(!partitions.is_empty(), "the topic {topic} does not exist: run `worker-service setup`");

    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition(topic, *partition);
    }
    // The commits come first: the log may grow meanwhile, and a commit must not seem to be beyond its end.
    let committed =
        consumer.committed_offsets(list, REQUEST_TIMEOUT).context("Kafka does not return the committed offsets")?;
    let mut all = BTreeMap::new();
    for partition in partitions {
        let told = committed.find_partition(topic, partition).context("a committed offset is missing")?;
        told.error().with_context(|| format!("Kafka does not return the committed offset of partition {partition}"))?;
        let committed = match told.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        anyhow::ensure!(began.elapsed() < ASK_TIMEOUT, "Kafka takes too long to return the topic's ends");
        let ends = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
        let (_, end) = ends.with_context(|| format!("Kafka does not return the end of partition {partition}"))?;
        all.insert(partition, PartitionOffsets { committed, end });
    }
    Ok(Offsets(all))
}
