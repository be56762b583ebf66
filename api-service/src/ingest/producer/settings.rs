//! The settings of librdkafka.

use std::time::Duration;

use rdkafka::ClientConfig;
use shared::kafka::topics::setup::MAX_RECORD_BYTES;
use shared::kafka::{KafkaConfig, set_default};

use super::config::ProducerConfig;

pub fn settings(kafka: &KafkaConfig, config: &ProducerConfig) -> anyhow::Result<ClientConfig> {
    let mut client = common(kafka, config)?;
    client
        .set("linger.ms", format!("{}", config.linger.as_secs_f64() * 1000.0))
        // A refused batch is sent again in parts, and later records must not be written first: after a refusal this
        // client sends nothing more.
        .set("enable.gapless.guarantee", "true")
        // For the metrics of the queue.
        .set("statistics.interval.ms", "5000");
    Ok(client)
}

/// The settings of the producer that sends each record by itself.
pub(super) fn unbatched(kafka: &KafkaConfig, config: &ProducerConfig) -> anyhow::Result<ClientConfig> {
    let mut client = common(kafka, config)?;
    client.set("linger.ms", "0");
    Ok(client)
}

fn common(kafka: &KafkaConfig, config: &ProducerConfig) -> anyhow::Result<ClientConfig> {
    let mut client = shared::kafka::client(kafka)?;
    set_default(&mut client, "client.id", "api-service");
    set_default(&mut client, "compression.type", "lz4");
    client
        // The guarantee of a 202.
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // The partitioner of Java clients: a key's events meet in one partition, from any writer.
        .set("partitioner", "murmur2_random")
        // All instances see added partitions within seconds: while they disagree on the number, a key's events go to
        // two partitions.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // A missing topic is reported as that, before the time of its events is over.
        .set("topic.metadata.propagation.max.ms", propagation(config).as_millis().to_string())
        .set("message.timeout.ms", config.message_timeout.as_millis().to_string())
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
        // Bounded by bytes. librdkafka counts only payloads, so small events need a bound on their number, too: each
        // costs about a kilobyte.
        .set("queue.buffering.max.kbytes", (config.queue_bytes / 1024).max(1).to_string())
        .set("queue.buffering.max.messages", (config.queue_bytes / 1024).clamp(1, 10_000_000).to_string());
    Ok(client)
}

/// How long a new topic may be unknown to a broker. It counts from the client's start.
fn propagation(config: &ProducerConfig) -> Duration {
    (config.message_timeout / 2).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    #[test]
    fn an_acknowledgement_is_that_of_all_in_sync_replicas() {
        let (kafka, producer) = config(&[]);
        for settings in [settings(&kafka, &producer).unwrap(), unbatched(&kafka, &producer).unwrap()] {
            assert_eq!(settings.get("acks"), Some("all"));
            assert_eq!(settings.get("enable.idempotence"), Some("true"));
        }
    }
}
