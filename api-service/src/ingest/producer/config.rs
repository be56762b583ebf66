//! The settings of the producer.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, value_parser};
use shared::runtime::config::{CONNECTION_TIMEOUTS, duration_in, trimmed};

/// The range of librdkafka.
const LINGERS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(900);

/// How events are handed to Kafka.
#[derive(Debug, Clone, Args)]
pub struct ProducerConfig {
    /// The time for Kafka to acknowledge an event, from 1ms to 1h; less than `REQUEST_TIMEOUT`. Ad
    /// events wait 5s at most.
    #[arg(long = "kafka-message-timeout", env = "KAFKA_MESSAGE_TIMEOUT", value_name = "KAFKA_MESSAGE_TIMEOUT", default_value = "5s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub message_timeout: Duration,
    /// How long an event waits for others even if it could be sent: up to 15m, and less than `KAFKA_MESSAGE_TIMEOUT`. By
    /// default it waits only while earlier ones are under way.
    #[arg(long = "kafka-linger", env = "KAFKA_LINGER", value_name = "KAFKA_LINGER", default_value = "0ms", value_parser = duration_in(LINGERS))]
    pub linger: Duration,
    /// The maximum number of bytes that wait for Kafka, from 1024 to 1099511627776; further events are refused at once.
    #[arg(long = "kafka-queue-bytes", env = "KAFKA_QUEUE_BYTES", value_name = "KAFKA_QUEUE_BYTES", default_value_t = 64 * 1024 * 1024,
          value_parser = trimmed(value_parser!(u64).range(1024..=1 << 40)))]
    pub queue_bytes: u64,
}
