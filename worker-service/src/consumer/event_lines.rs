//! The log lines of events. `tracing` needs field names at compile time, so a domain creates its lines with a macro
//! that takes the domain's name for a record's key: `const LINES: EventLines = event_lines!(device_id);`.

use std::fmt;

use shared::kafka::Envelope;
use shared::kafka::ids::EventId;
use shared::store::Class;

/// The most characters that a line shows of a text from outside.
const MAX_TEXT: usize = 128;

/// The `tracing` target of every line, in all domains.
pub const TARGET: &str = "worker_service::consumer::event_log";

/// A log line about an event: its identifiers, as far as they are known, and what happened to it. Fields that are
/// `None` are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventLine<'a> {
    /// The record's key.
    pub key: Option<&'a str>,
    pub event_id: Option<&'a EventId>,
    /// The request that sent it.
    pub request_id: Option<Text<'a>>,
    /// The consumer group that handles it.
    pub group: &'a str,
    /// Its place in the topic.
    pub partition: i32,
    pub offset: i64,
    /// For a processed event: its outcome, its resource's version, and the result of the fence.
    pub outcome: Option<&'static str>,
    pub version: Option<i64>,
    pub cache: Option<&'static str>,
    /// For a batch that failed: its size, the failure's class, what happens next, and after how long it is tried again.
    pub records: Option<usize>,
    pub class: Option<Class>,
    pub then: Option<&'static str>,
    pub retry_s: Option<u64>,
    /// For a processed event: why it has its outcome. For a dead letter: `dlq.reason`.
    pub reason: Option<&'static str>,
    /// For a dead letter: how often it was tried.
    pub attempts: Option<u32>,
    pub error: Option<&'a str>,
}

impl<'a> EventLine<'a> {
    /// A line about the event in this record.
    pub fn of(group: &'a str, envelope: &'a Envelope, partition: i32, offset: i64) -> Self {
        Self {
            key: Some(envelope.key.as_str()),
            event_id: Some(&envelope.id),
            // Records of other producers may have no request id.
            request_id: envelope.request_id.as_deref().map(Text),
            group,
            partition,
            offset,
            ..Self::default()
        }
    }
}

/// The log functions for a domain's events, by level.
#[derive(Debug, Clone, Copy)]
pub struct EventLines {
    /// The field name of a record's key.
    pub key: &'static str,
    pub info: fn(EventLine<'_>, &str),
    pub warn: fn(EventLine<'_>, &str),
    pub error: fn(EventLine<'_>, &str),
}

/// A text that another producer may have written. It is shown with a bounded length and escaped, so that it cannot
/// end the line or move a terminal's cursor.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_TEXT) {
            write!(f, "{}", character.escape_debug())?;
        }
        if characters.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}

/// Logs a line about an event.
#[doc(hidden)]
#[macro_export]
macro_rules! event_line {
    ($key:ident, $level:ident) => {
        |line, message| {
            ::tracing::$level!(
                target: $crate::consumer::event_lines::TARGET,
                $key = line.key,
                event_id = line.event_id.map(::tracing::field::display),
                request_id = line.request_id.map(::tracing::field::display),
                group = line.group,
                partition = line.partition,
                offset = line.offset,
                outcome = line.outcome.map(::tracing::field::display),
                version = line.version,
                cache = line.cache.map(::tracing::field::display),
                records = line.records,
                class = line.class.map(::tracing::field::debug),
                then = line.then.map(::tracing::field::display),
                retry_s = line.retry_s,
                reason = line.reason.map(::tracing::field::display),
                attempts = line.attempts,
                error = line.error,
                "{message}"
            );
        }
    };
}

/// The log functions of a domain, with its field name for a record's key.
#[macro_export]
macro_rules! event_lines {
    ($key:ident) => {
        $crate::consumer::event_lines::EventLines {
            key: stringify!($key),
            info: $crate::event_line!($key, info),
            warn: $crate::event_line!($key, warn),
            error: $crate::event_line!($key, error),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_stays_on_its_line() {
        for (text, shown) in [
            ("0191f3c4-0000-7000-8000-000000000000", "0191f3c4-0000-7000-8000-000000000000"),
            ("a\nb\u{1b}[2Jc", "a\\nb\\u{1b}[2Jc"),
            ("é", "é"),
            ("", ""),
        ] {
            assert_eq!(Text(text).to_string(), shown);
        }
        let long = "x".repeat(MAX_TEXT);
        assert_eq!(Text(&long).to_string(), long);
        assert_eq!(Text(&format!("{long}y")).to_string(), format!("{long}…"));
    }
}
