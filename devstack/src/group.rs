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

const TIMEOUT: Duration = Duration::from_secs(10);

/// By partition: the group's committed offset and the end of the log, including open transactions.
pub fn committed(brokers: &str, topic: &str, group: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
    let consumer = consumer(brokers, group, "read_uncommitted")?;
    let mut list = TopicPartitionList::new();
    for partition in partitions(&consumer, topic)? {
        list.add_partition(topic, partition);
    }
    let mut offsets = BTreeMap::new();
    for element in asked_of_coordinator(&consumer, &list)?.elements() {
        let (_, end) = consumer.fetch_watermarks(topic, element.partition(), TIMEOUT)?;
        // A negative offset means that nothing is committed.
        offsets.insert(element.partition(), (element.offset().to_raw().unwrap_or(0).max(0), end));
    }
    Ok(offsets)
}

/// By partition: the last stable offset. Nothing behind it can be read until the transaction that begins there ends.
pub fn stable_ends(brokers: &str, topic: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let consumer = consumer(brokers, "none", "read_committed")?;
    let end = |partition| Ok((partition, consumer.fetch_watermarks(topic, partition, TIMEOUT)?.1));
    partitions(&consumer, topic)?.into_iter().map(end).collect()
}

fn consumer(brokers: &str, group: &str, isolation: &str) -> KafkaResult<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group).set("isolation.level", isolation).create()
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().first().context("no such topic")?;
    Ok(found.partitions().iter().map(|partition| partition.id()).collect())
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
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let committed = consumer.committed_offsets(list.clone(), TIMEOUT);
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
pub fn until_caught_up(brokers: &str, topic: &str, group: &str, timeout: Duration) -> anyhow::Result<()> {
    let is_caught_up = || Ok(committed(brokers, topic, group)?.values().all(|(at, end)| at >= end).then_some(()));
    let caught_up = asked(timeout, Duration::from_millis(200), is_caught_up)?;
    caught_up.with_context(|| format!("the worker is not caught up after {timeout:?}"))
}
