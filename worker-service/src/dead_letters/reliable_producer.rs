//! The producer of dead letters and of redriven records.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use shared::kafka::topics::setup::MAX_DEAD_LETTER_BYTES;
use shared::kafka::{self, Detached, LogContext};

/// Limit for one record; after it the scheduler waits and sends the record again, and an operator's command reports it
/// as failed.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

type Producer = Detached<FutureProducer<LogContext>>;

/// A producer that reports a record as sent only when all in-sync replicas have it.
pub(super) struct ReliableProducer {
    /// The consumer group of the records.
    group: String,
    config: ClientConfig,
    producer: Mutex<Arc<Producer>>,
}

impl ReliableProducer {
    pub(super) fn new(client: &ClientConfig, group: &str) -> anyhow::Result<Self> {
        let config = settings(client);
        let producer = Mutex::new(Arc::new(config.create_with_context(LogContext)?));
        Ok(Self { group: group.to_owned(), config, producer })
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Sends a record; returns its partition and offset. After an error, the record may have been written nevertheless.
    pub(super) async fn send(
        &self,
        topic: &str,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: OwnedHeaders,
    ) -> Result<(i32, i64), KafkaError> {
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        (record.key, record.payload) = (key, value);
        let producer = Arc::clone(&self.producer());
        // `send` would sleep while the queue is full; the callers wait themselves.
        let sent = match producer.send_result(record) {
            Err((error, _)) => Err(error),
            Ok(delivery) => match delivery.await {
                Ok(Ok(at)) if kafka::is_acknowledged(at.offset) => return Ok((at.partition, at.offset)),
                // It may have been written; then it appears twice.
                Ok(Ok(_)) => {
                    let group = self.group();
                    tracing::warn!(group, "librdkafka reports a record as written that no broker acknowledged");
                    Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))
                }
                Ok(Err((error, _))) => Err(error),
                Err(_) => Err(KafkaError::Canceled),
            },
        };
        if producer.client().fatal_error().is_some() {
            self.renew();
        }
        sent
    }

    /// Replaces the producer: a fatal error ends an idempotent producer for good. If several records met the error, the
    /// first one replaces it.
    fn renew(&self) {
        let mut producer = self.producer();
        if producer.client().fatal_error().is_none() {
            return;
        }
        match self.config.create_with_context(LogContext) {
            Ok(new) => *producer = Arc::new(new),
            Err(error) => tracing::error!(group = self.group(), %error, "cannot recreate the producer"),
        }
    }

    fn producer(&self) -> MutexGuard<'_, Arc<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Headers in the client's type.
pub(super) fn owned<'a>(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> OwnedHeaders {
    headers.into_iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value }))
}

fn settings(client: &ClientConfig) -> ClientConfig {
    let mut config = client.clone();
    kafka::set_default(&mut config, "compression.type", "lz4");
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // One record in each batch: a broker accepts or refuses a batch as a whole, also because of its size.
        .set("batch.num.messages", "1")
        .set("linger.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string())
        .set("message.max.bytes", MAX_DEAD_LETTER_BYTES.to_string());
    config
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    #[test]
    fn every_replica_has_a_letter_before_its_offset_moves() {
        let config = settings(&ClientConfig::new());
        assert_eq!((config.get("acks"), config.get("enable.idempotence")), (Some("all"), Some("true")));
    }

    #[tokio::test]
    async fn records_are_sent_again_after_a_fatal_error() {
        // Only the in-process broker can answer wrongly on request.
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer = ReliableProducer::new(&client, "g").unwrap();
        let send = async || producer.send("t", (Some(b"k"), Some(b"v")), OwnedHeaders::new()).await;
        assert_eq!(send().await, Ok((0, 0)));

        // An unexplained gap in an idempotent producer's sequence.
        let gap = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[gap; 1]);
        send().await.unwrap_err();
        assert_eq!(send().await, Ok((0, 1)), "another producer has taken its place");
    }
}
