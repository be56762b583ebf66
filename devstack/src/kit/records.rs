use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};

use super::{TEST_TIMEOUT, blocking};
use crate::{Kafka, read_topic};

/// The first records of a topic, ordered by partition: this many, or those that arrived in time.
pub fn read_some<T>(
    brokers: &str,
    topic: &str,
    count: usize,
    timeout: Duration,
    of: impl Fn(BorrowedMessage<'_>) -> T,
) -> Vec<T> {
    let mut found = read_until(brokers, topic, count, timeout, of);
    found.truncate(count);
    found
}

/// Waits for at least this many records and returns all.
pub fn read_all(brokers: &str, topic: &str, at_least: usize) -> Vec<OwnedMessage> {
    let found = read_until(brokers, topic, at_least, TEST_TIMEOUT, |message| message.detach());
    assert!(found.len() >= at_least, "{topic}: {} records, not {at_least}", found.len());
    found
}

fn read_until<T>(
    brokers: &str,
    topic: &str,
    at_least: usize,
    timeout: Duration,
    of: impl Fn(BorrowedMessage<'_>) -> T,
) -> Vec<T> {
    let begin = Instant::now();
    loop {
        let found = read_topic(brokers, topic, &of).unwrap();
        if found.len() >= at_least || begin.elapsed() > timeout {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub async fn has_topic(brokers: &str, topic: &str) -> bool {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let ask = move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        consumer.fetch_metadata(None, TEST_TIMEOUT).unwrap().topics().iter().any(|found| found.name() == topic)
    };
    blocking(ask).await
}

/// Starts a separate Kafka that creates topics automatically.
pub async fn kafka_that_makes_topics() -> Kafka {
    kafka_with(&[("auto.create.topics.enable", "true")]).await
}

/// Starts a separate Kafka with these settings.
pub async fn kafka_with(settings: &'static [(&'static str, &'static str)]) -> Kafka {
    let start = move || {
        let kafka = Kafka::start(None).unwrap();
        kafka.set(settings).unwrap();
        kafka
    };
    blocking(start).await
}

/// Headers for rdkafka.
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
