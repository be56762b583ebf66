use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{PATIENCE, blocking};
use crate::Kafka;

/// The first records of a topic, in the order of their partitions: so many, or those that came in time.
pub fn read_some<T>(
    brokers: &str,
    topic: &str,
    count: usize,
    patience: Duration,
    of: impl Fn(BorrowedMessage<'_>) -> T,
) -> Vec<T> {
    let (consumer, _) = reader(brokers, topic);
    let (begin, mut found) = (Instant::now(), Vec::new());
    while found.len() < count && begin.elapsed() < patience {
        found.extend(consumer.poll(Duration::from_millis(100)).map(|message| of(message.unwrap())));
    }
    found
}

pub fn read_all(brokers: &str, topic: &str, at_least: usize) -> Vec<OwnedMessage> {
    let (consumer, partitions) = reader(brokers, topic);
    let (begin, mut found) = (Instant::now(), Vec::new());
    loop {
        let end = |partition: &i32| consumer.fetch_watermarks(topic, *partition, PATIENCE).unwrap().1;
        let ends: i64 = partitions.iter().map(end).sum();
        if found.len() >= at_least && found.len() >= usize::try_from(ends).unwrap() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{topic}: {} records, not {at_least}", found.len());
        while let Some(message) = consumer.poll(Duration::from_millis(100)) {
            found.push(message.unwrap().detach());
        }
    }
}

pub async fn has_topic(brokers: &str, topic: &str) -> bool {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let ask = move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        consumer.fetch_metadata(None, PATIENCE).unwrap().topics().iter().any(|found| found.name() == topic)
    };
    blocking(ask).await
}

/// Starts a Kafka of a test's own that makes a topic when somebody asks for it.
pub async fn kafka_that_makes_topics() -> Kafka {
    let start = || {
        let kafka = Kafka::start(None).unwrap();
        kafka.set(&[("auto.create.topics.enable", "true")]).unwrap();
        kafka
    };
    blocking(start).await
}

/// A consumer at the beginning of all of a topic's partitions, without a group.
fn reader(brokers: &str, topic: &str) -> (BaseConsumer, Vec<i32>) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("group.id", "reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions: Vec<_> = metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
    let mut begin = TopicPartitionList::new();
    for partition in &partitions {
        begin.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&begin).unwrap();
    (consumer, partitions)
}

/// Headers as a client of Kafka's takes them.
pub fn owned_headers(headers: &[(&str, &str)]) -> OwnedHeaders {
    let add = |all: OwnedHeaders, (key, value): &(&str, &str)| all.insert(Header { key, value: Some(*value) });
    headers.iter().fold(OwnedHeaders::new(), add)
}

pub fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    headers(message).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

pub fn headers(message: &OwnedMessage) -> Vec<(String, String)> {
    let text =
        |value: Option<&[u8]>| value.map_or("<null>".into(), |value| String::from_utf8_lossy(value).into_owned());
    message.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}
