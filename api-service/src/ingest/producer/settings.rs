//! What librdkafka is told.

use std::time::Duration;

use rdkafka::ClientConfig;
use shared::kafka::KafkaConfig;
use shared::kafka::topics::setup::MAX_RECORD_BYTES;

use super::config::ProducerConfig;

pub fn settings(kafka: &KafkaConfig, config: &ProducerConfig) -> anyhow::Result<ClientConfig> {
    let mut client = common(kafka, config)?;
    client
        .set("linger.ms", format!("{}", config.linger.as_secs_f64() * 1000.0))
        // A batch that the broker refuses is sent again in parts, and what stands behind it must not be
        // written first: nothing more is sent by this client then.
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
    client
        .set("client.id", "api-service")
        // What a 202 rests on.
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // The one that Java clients use: whoever writes a device's events, they meet in one place.
        .set("partitioner", "murmur2_random")
        // Partitions that were added are seen by all instances within seconds: while they disagree on
        // the number, a device's events go to two partitions.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // A topic that is not there is told as that, before its events have waited for their time.
        .set("topic.metadata.propagation.max.ms", propagation(config).as_millis().to_string())
        .set("compression.type", "lz4")
        .set("message.timeout.ms", config.message_timeout.as_millis().to_string())
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
        // Bounded by bytes. librdkafka counts those of payloads alone, so that events of a few bytes need
        // the bound on their number too: each costs about a kilobyte whatever it holds.
        .set("queue.buffering.max.kbytes", (config.queue_bytes / 1024).max(1).to_string())
        .set("queue.buffering.max.messages", (config.queue_bytes / 1024).clamp(1, 10_000_000).to_string());
    Ok(client)
}

/// How long a topic that was just made may be unknown to a broker. It counts from a client's start.
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
