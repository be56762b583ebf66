//! Reads a topic without a consumer group.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads all records that exist now.
pub fn read_topic<T>(brokers: &str, topic: &str, of: impl Fn(BorrowedMessage<'_>) -> T) -> anyhow::Result<Vec<T>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let mut list = TopicPartitionList::new();
    // Rely on the client's end-of-partition event: the last offsets may be transaction markers, or missing.
    let mut left = BTreeSet::new();
    for partition in metadata.topics().first().context("no such topic")?.partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        left.insert(partition.id());
    }
    consumer.assign(&list)?;
    let (deadline, mut found) = (Instant::now() + TIMEOUT, Vec::new());
    while !left.is_empty() {
        ensure!(Instant::now() < deadline, "{topic} is not read to its end: {left:?}");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
            // Errors of a broker that has just started; the client retries by itself.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
            ))) => {}
            Some(message) => found.push(of(message?)),
        }
    }
    Ok(found)
}
