//! The progress of a consumer group.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::process::{STEP, asked};

const PATIENCE: Duration = Duration::from_secs(10);

/// By partition: the group's committed offset and the end of the log, including open transactions.
pub fn committed(brokers: &str, topic: &str, group: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group).set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics().first().context("no such topic")?.partitions();
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, partition.id());
    }
    let mut offsets = BTreeMap::new();
    for element in asked_of_coordinator(&consumer, &list)?.elements() {
        let (_, end) = consumer.fetch_watermarks(topic, element.partition(), PATIENCE)?;
        // A negative offset means that nothing is committed.
        offsets.insert(element.partition(), (element.offset().to_raw().unwrap_or(0).max(0), end));
    }
    Ok(offsets)
}

/// Waits until the group has a coordinator. The first request makes a new broker create its offsets topic, so
/// that a member that joins later does not wait for it.
pub fn await_coordinator(brokers: &str, group: &str) -> anyhow::Result<()> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create()?;
    // The topic need not exist: only the request matters.
    let mut list = TopicPartitionList::new();
    list.add_partition("none", 0);
    asked_of_coordinator(&consumer, &list)?;
    Ok(())
}

/// Repeats the request while the group's coordinator is new or still loads its offsets.
fn asked_of_coordinator(consumer: &BaseConsumer, list: &TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let committed = consumer.committed_offsets(list.clone(), PATIENCE);
        let code = committed.as_ref().err().and_then(|error| error.rdkafka_error_code());
        match code {
            Some(
                RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress,
            ) if Instant::now() < deadline => sleep(2 * STEP),
            _ => return committed,
        }
    }
}

/// Waits until the group has committed the whole log.
pub fn until_caught_up(brokers: &str, topic: &str, group: &str, patience: Duration) -> anyhow::Result<()> {
    let is_caught_up = || Ok(committed(brokers, topic, group)?.values().all(|(at, end)| at >= end).then_some(()));
    let caught_up = asked(patience, Duration::from_millis(200), is_caught_up)?;
    caught_up.with_context(|| format!("the worker is not caught up after {patience:?}"))
}
