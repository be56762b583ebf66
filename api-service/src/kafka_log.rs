//! What librdkafka has to say, in our log: with the broker away it says the same many times a
//! second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Statistics};

/// One warning in this time; the others are for who debugs.
const QUIET: Duration = Duration::from_secs(10);

/// Logs the client's errors.
#[derive(Debug, Default)]
pub(crate) struct LogContext {
    warned: Mutex<Option<Instant>>,
}

impl LogContext {
    fn say(&self, what: &str, detail: &str) {
        if self.may_warn() {
            tracing::warn!(what, detail, "Kafka client");
        } else {
            tracing::debug!(what, detail, "Kafka client");
        }
    }

    fn may_warn(&self) -> bool {
        let Ok(mut warned) = self.warned.lock() else { return false };
        let may = warned.is_none_or(|at| at.elapsed() >= QUIET);
        if may {
            *warned = Some(Instant::now());
        }
        may
    }
}

impl ConsumerContext for LogContext {}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => self.say(what, detail),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(what, detail, "Kafka client");
            }
        }
    }

    /// Only the producer is set up to tell them.
    fn stats(&self, statistics: Statistics) {
        crate::metrics::queue(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map(|code| code.to_string()).unwrap_or_default();
        self.say(&code, reason);
    }
}
