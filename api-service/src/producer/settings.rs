//! What librdkafka is told.

use std::time::Duration;

use rdkafka::ClientConfig;
use shared::kafka::topics::setup::MAX_RECORD_BYTES;

use crate::config::Config;

pub fn settings(config: &Config) -> anyhow::Result<ClientConfig> {
    let mut client = common(config)?;
    client
        .set("linger.ms", format!("{}", config.producer.linger.as_secs_f64() * 1000.0))
        // A batch that the broker refuses is sent again in parts, and what stands behind it must not be
        // written first: nothing more is sent by this client then.
        .set("enable.gapless.guarantee", "true")
        // For the metrics of the queue.
        .set("statistics.interval.ms", "5000");
    Ok(client)
}

/// The settings of the producer that sends each record by itself.
pub(super) fn unbatched(config: &Config) -> anyhow::Result<ClientConfig> {
    let mut client = common(config)?;
    client.set("linger.ms", "0");
    Ok(client)
}

fn common(config: &Config) -> anyhow::Result<ClientConfig> {
    let producer = &config.producer;
    let mut client = shared::kafka::client(&config.kafka)?;
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
        .set("message.timeout.ms", producer.message_timeout.as_millis().to_string())
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
        // Bounded by bytes. librdkafka counts those of payloads alone, so that events of a few bytes need
        // the bound on their number too: each costs about a kilobyte whatever it holds.
        .set("queue.buffering.max.kbytes", (producer.queue_bytes / 1024).max(1).to_string())
        .set("queue.buffering.max.messages", (producer.queue_bytes / 1024).clamp(1, 10_000_000).to_string());
    Ok(client)
}

/// How long a topic that was just made may be unknown to a broker. It counts from a client's start.
fn propagation(config: &Config) -> Duration {
    (config.producer.message_timeout / 2).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn an_acknowledgement_is_that_of_all_in_sync_replicas() {
        let args = ["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        let config = Config::try_parse_from(args).unwrap();
        for settings in [settings(&config).unwrap(), unbatched(&config).unwrap()] {
            assert_eq!(settings.get("acks"), Some("all"));
            assert_eq!(settings.get("enable.idempotence"), Some("true"));
        }
    }
}
