//! Sends dead letters, and says so only once Kafka holds them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use shared::topic::DeadLetter;
use shared::topic::setup::MAX_DEAD_LETTER_BYTES;
use time::OffsetDateTime;

use crate::trace::Burying;

/// How long one letter may take; the lane then waits and sends it again.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a record takes beyond its key, value and headers, generously.
const OVERHEAD: usize = 512;
/// A letter is not cut to less: its own headers need about as much.
const LEAST_BYTES: usize = 2048;

/// Headers as they are sent.
type Headers = Vec<(String, Option<Vec<u8>>)>;

/// The dead-letter topic's producer.
pub struct DeadLetters {
    topic: String,
    group: String,
    config: ClientConfig,
    producer: Mutex<FutureProducer>,
}

impl DeadLetters {
    /// A producer on these connection settings.
    ///
    /// # Errors
    /// The settings are wrong.
    pub fn new(client: &ClientConfig, topic: &str, group: &str) -> anyhow::Result<Self> {
        let mut config = client.clone();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            // Each alone: a batch is taken or refused as a whole, also for its size.
            .set("batch.num.messages", "1")
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string())
            .set("message.max.bytes", MAX_DEAD_LETTER_BYTES.to_string());
        let producer = Mutex::new(config.create()?);
        Ok(Self { topic: topic.to_owned(), group: group.to_owned(), config, producer })
    }

    /// Sends letters, and gives each back with how it went: `Ok` only when all in-sync replicas have
    /// it. A letter that was not acknowledged may be there nevertheless.
    pub async fn send(&self, letters: Vec<DeadLetter>) -> Vec<(DeadLetter, Result<(), String>)> {
        let producer = self.producer().clone();
        let sent = join_all(letters.iter().map(|letter| self.send_one(&producer, letter))).await;
        if sent.iter().any(Result::is_err) && producer.client().fatal_error().is_some() {
            self.renew();
        }
        for (letter, _) in letters.iter().zip(&sent).filter(|(_, sent)| sent.is_ok()) {
            metrics::counter!("dead_letters_total", "reason" => letter.reason.as_str()).increment(1);
        }
        letters.into_iter().zip(sent.into_iter().map(|sent| sent.map_err(|error| error.to_string()))).collect()
    }

    /// What is too large, for the client or for the broker, whose limit nobody tells, is cut to the
    /// half until it fits.
    async fn send_one(&self, producer: &FutureProducer, letter: &DeadLetter) -> Result<(), KafkaError> {
        let headers = letter.headers(&self.group, OffsetDateTime::now_utc());
        let value = letter.record.value();
        let burying = Burying::begin(letter, &self.topic);
        let mut sent = self.deliver(producer, letter, &headers, value.as_deref()).await;
        let mut room = MAX_DEAD_LETTER_BYTES;
        let size = OVERHEAD + size_of_key(letter) + size_of_headers(&headers) + value.as_ref().map_or(0, Bytes::len);
        while is_too_large(&sent) && room > LEAST_BYTES {
            if room < size {
                let (headers, value) = cut(letter, headers.clone(), value.as_deref(), room);
                sent = self.deliver(producer, letter, &headers, value).await;
            }
            room /= 2;
        }
        burying.end(sent.as_ref().err());
        sent
    }

    async fn deliver(
        &self,
        producer: &FutureProducer,
        letter: &DeadLetter,
        headers: &[(String, Option<Vec<u8>>)],
        value: Option<&[u8]>,
    ) -> Result<(), KafkaError> {
        let mut owned = OwnedHeaders::new_with_capacity(headers.len());
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: value.as_deref() });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(owned);
        record.key = letter.record.key();
        record.payload = value;
        // `send` would sleep while the queue is full; the lane waits better.
        let delivery = producer.send_result(record).map_err(|(error, _)| error)?;
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        }
    }

    /// A fatal error ends an idempotent producer for good: a new one takes its place.
    fn renew(&self) {
        match self.config.create() {
            Ok(producer) => *self.producer() = producer,
            Err(error) => tracing::error!(%error, "the dead-letter producer cannot be made anew"),
        }
    }

    fn producer(&self) -> std::sync::MutexGuard<'_, FutureProducer> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_too_large(sent: &Result<(), KafkaError>) -> bool {
    matches!(sent, Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)))
}

/// Makes a letter fit into so many bytes: first the value is cut; headers beyond all measure are left
/// out, but for ours. `dlq.truncated` tells the value's size before.
fn cut<'a>(
    letter: &DeadLetter,
    mut headers: Headers,
    value: Option<&'a [u8]>,
    room: usize,
) -> (Headers, Option<&'a [u8]>) {
    let room = room.saturating_sub(OVERHEAD + size_of_key(letter));
    let length = value.map_or(0, <[u8]>::len);
    headers.push(("dlq.truncated".to_owned(), Some(length.to_string().into_bytes())));
    if size_of_headers(&headers) > room {
        headers.retain(|(name, _)| name.starts_with("dlq."));
    }
    let left = room.saturating_sub(size_of_headers(&headers));
    (headers, value.map(|value| value.get(..left.min(length)).unwrap_or_default()))
}

fn size_of_key(letter: &DeadLetter) -> usize {
    letter.record.key().map_or(0, <[u8]>::len)
}

fn size_of_headers(headers: &[(String, Option<Vec<u8>>)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::topic::{Reason, Record};

    fn letter(value: usize, header: usize) -> DeadLetter {
        let record = Record::new(Some(b"k"), Some(&vec![b'v'; value]), &[("big", Some(&vec![b'h'; header]))]);
        DeadLetter { record, reason: Reason::Undecodable, error: String::new(), attempts: 1 }
    }

    #[test]
    fn what_is_too_large_is_cut_to_fit() {
        for (value, header, kept) in [(2 << 20, 100, true), (100, 2 << 20, false), (2 << 20, 2 << 20, false)] {
            let letter = letter(value, header);
            let whole = letter.record.value();
            let headers = letter.headers("g", OffsetDateTime::UNIX_EPOCH);
            let (headers, cut) = cut(&letter, headers, whole.as_deref(), MAX_DEAD_LETTER_BYTES);
            let size = headers.iter().map(|(n, v)| n.len() + v.as_ref().unwrap().len()).sum::<usize>();
            assert!(size + cut.unwrap().len() < MAX_DEAD_LETTER_BYTES);
            assert!(cut.unwrap().len() >= value.min(MAX_DEAD_LETTER_BYTES - 4096));
            assert_eq!(headers.iter().any(|(name, _)| name == "big"), kept);
            let truncated = headers.iter().find(|(name, _)| name == "dlq.truncated").unwrap();
            assert_eq!(truncated.1.as_deref().unwrap(), value.to_string().as_bytes());
        }
    }
}
