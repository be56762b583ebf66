//! librdkafka's messages in our log. While a broker is down, each client repeats the same warnings, so each kind is
//! logged at most once per interval, with the number of suppressed warnings.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// One warning of a kind per interval; the others are logged at debug level.
const INTERVAL: Duration = Duration::from_secs(10);
/// The most kinds that are counted separately: librdkafka has some dozens.
const MAX_KINDS: usize = 200;

/// The kinds of warnings so far, for all clients of the process.
static WARNINGS: Mutex<Throttle> = Mutex::new(Throttle(BTreeMap::new()));

#[derive(Debug, Default)]
struct Throttle(BTreeMap<String, LastLine>);

#[derive(Debug)]
struct LastLine {
    at: Instant,
    left_out: u64,
}

impl Throttle {
    /// Returns `Some` if a warning of this kind is to be logged now: the number suppressed since the last one.
    fn tell(&mut self, kind: &str, now: Instant) -> Option<u64> {
        let is_room = self.0.len() < MAX_KINDS || self.0.contains_key(kind);
        let kind = if is_room { kind } else { "" };
        let Some(told) = self.0.get_mut(kind) else {
            self.0.insert(kind.to_owned(), LastLine { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(told.at) < INTERVAL {
            told.left_out += 1;
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.left_out))
    }
}

/// The default context of a client: it forwards the client's log lines and errors to our log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogContext;

impl ConsumerContext for LogContext {}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        log(level, what, detail);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

/// Logs a line of a client's log; `what` is its kind.
pub fn log(level: RDKafkaLogLevel, what: &str, detail: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
            if !is_for_others(detail) =>
        {
            warn(what, detail);
        }
        _ => tracing::debug!(what, detail, "Kafka client"),
    }
}

/// Whether a client warns of a property that does not concern it. `KAFKA_PROPERTIES` is for producers and consumers.
fn is_for_others(detail: &str) -> bool {
    detail.contains(" property and will be ignored by this ")
}

/// Logs an error of a client; its kind is the code.
pub fn log_error(error: &KafkaError, reason: &str) {
    let code = error.rdkafka_error_code().map(|code| code.to_string()).unwrap_or_default();
    warn(&code, reason);
}

fn warn(what: &str, detail: &str) {
    let tell = WARNINGS.lock().tell(what, Instant::now());
    match tell {
        Some(left_out) => {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(what, detail, left_out, "Kafka client");
        }
        None => tracing::debug!(what, detail, "Kafka client"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each warning is logged, or counted in a later one; never two of a kind within the interval.
        #[test]
        fn of_each_kind_one_is_told_in_a_while_with_the_number_of_the_others(
            steps in prop::collection::vec((0..3usize, 0..4_000u64), 0..200),
        ) {
            let (mut throttle, mut now) = (Throttle::default(), Instant::now());
            let kinds = ["FAIL", "ERROR", "BrokerTransportFailure"];
            let mut last: [Option<(Instant, u64)>; 3] = [None; 3];
            for (kind, millis) in steps {
                now += Duration::from_millis(millis);
                let told = throttle.tell(kinds[kind], now);
                match (&mut last[kind], told) {
                    (None, Some(left_out)) => {
                        prop_assert_eq!(left_out, 0);
                        last[kind] = Some((now, 0));
                    }
                    (Some((at, left_out)), Some(told)) => {
                        prop_assert!(now - *at >= INTERVAL);
                        prop_assert_eq!(told, *left_out);
                        (*at, *left_out) = (now, 0);
                    }
                    (Some((at, left_out)), None) => {
                        prop_assert!(now - *at < INTERVAL);
                        *left_out += 1;
                    }
                    (None, None) => prop_assert!(false, "the first of a kind is told"),
                }
            }
        }
    }

    #[test]
    fn the_kinds_are_bounded() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let told = (0..10 * MAX_KINDS).filter(|kind| throttle.tell(&kind.to_string(), now).is_some()).count();
        assert_eq!((told, throttle.0.len()), (MAX_KINDS + 1, MAX_KINDS + 1), "those beyond are one kind");
    }
}
