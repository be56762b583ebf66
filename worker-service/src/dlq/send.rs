//! Sends a letter's record back to where it came from.

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use shared::topic::setup::MAX_DEAD_LETTER_BYTES;
use shared::topic::{Record, header};

use super::letter::{OURS, REDRIVES};

/// Headers as they are sent.
type Headers<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// What every header of a record's first place starts with.
const ORIGIN: &str = "origin.";

/// The input topic's producer.
pub(super) struct Sender {
    topic: String,
    producer: FutureProducer,
}

impl Sender {
    pub(super) fn new(client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        let mut config = client.clone();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            // Each record is awaited before the next: waiting for company would only cost time.
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "10000")
            .set("message.max.bytes", MAX_DEAD_LETTER_BYTES.to_string());
        Ok(Self { topic: topic.to_owned(), producer: config.create().context("the Kafka settings")? })
    }

    /// Sends one, and waits until all in-sync replicas have it. `redrives` is its count from now on.
    pub(super) async fn send(&self, letter: &Record, redrives: u32) -> Result<(i32, i64), KafkaError> {
        let count = redrives.to_string();
        let mut owned = OwnedHeaders::new();
        for (key, value) in headers(letter, &count) {
            owned = owned.insert(Header { key, value });
        }
        let value = letter.value();
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(owned);
        record.key = letter.key();
        record.payload = value.as_deref();
        let delivery = self.producer.send_result(record).map_err(|(error, _)| error)?;
        match delivery.await {
            Ok(Ok(delivered)) => Ok((delivered.partition, delivered.offset)),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        }
    }
}

/// The record's own headers, its first place, and the count. Where it has a first place already, that
/// stays, whatever it died of since: events count by it.
fn headers<'a>(letter: &'a Record, count: &'a str) -> Headers<'a> {
    let keeps_origin = letter.is_redriven();
    let mut headers: Headers<'a> = letter
        .headers()
        .filter(|(name, _)| !name.starts_with(OURS) && *name != REDRIVES)
        .filter(|(name, _)| keeps_origin || !name.starts_with(ORIGIN))
        .collect();
    if !keeps_origin {
        let from = ["dlq.topic", "dlq.partition", "dlq.offset", "dlq.timestamp"];
        let to = [header::ORIGIN_TOPIC, header::ORIGIN_PARTITION, header::ORIGIN_OFFSET, header::ORIGIN_TIMESTAMP];
        headers.extend(to.into_iter().zip(from.map(|name| letter.header(name))));
    }
    headers.push((REDRIVES, Some(count.as_bytes())));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIED: [(&str, Option<&[u8]>); 7] = [
        ("x", Some(b"1")),
        ("dlq.reason", Some(b"failed")),
        ("dlq.topic", Some(b"in")),
        ("dlq.partition", Some(b"1")),
        ("dlq.offset", Some(b"5")),
        ("dlq.timestamp", Some(b"1000")),
        ("x", None),
    ];
    const ORIGIN: [(&str, Option<&[u8]>); 4] = [
        ("origin.topic", Some(b"in")),
        ("origin.partition", Some(b"1")),
        ("origin.offset", Some(b"5")),
        ("origin.timestamp", Some(b"1000")),
    ];

    #[test]
    fn the_first_place_is_set_once() {
        let letter = Record::new(None, None, &DIED);
        let first = headers(&letter, "1");
        let mut expected = vec![("x", Some(&b"1"[..])), ("x", None)];
        expected.extend(ORIGIN);
        expected.push(("redrive.count", Some(b"1")));
        assert_eq!(first, expected);

        // It dies again, elsewhere.
        let again: Vec<_> =
            first.into_iter().chain([("dlq.topic", Some(&b"in"[..])), ("dlq.offset", Some(b"99"))]).collect();
        let letter = Record::new(None, None, &again);
        expected.pop();
        expected.push(("redrive.count", Some(b"2")));
        assert_eq!(headers(&letter, "2"), expected);
    }

    #[test]
    fn half_a_first_place_is_none() {
        let mut half = DIED.to_vec();
        half.push(("origin.offset", Some(b"77")));
        let letter = Record::new(None, None, &half);
        let found = headers(&letter, "1");
        assert_eq!(found.iter().filter(|(name, _)| *name == "origin.offset").count(), 1);
        assert_eq!(found[2..6], ORIGIN);
    }
}
