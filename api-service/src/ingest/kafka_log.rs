//! What librdkafka has to say, in our log and metrics.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Statistics};
use shared::kafka;

/// Logs the client's warnings, and shows its queue.
#[derive(Debug, Default)]
pub(crate) struct LogContext;

impl ConsumerContext for LogContext {}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        kafka::log(level, what, detail);
    }

    /// Only the producer is set up to tell them.
    fn stats(&self, statistics: Statistics) {
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        for (name, value) in [
            ("kafka_queue_records", statistics.msg_cnt),
            ("kafka_queue_bytes", statistics.msg_size),
            ("kafka_queue_limit_bytes", statistics.msg_size_max),
        ] {
            metrics::gauge!(name).set(value as f64);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log_error(&error, reason);
    }
}
