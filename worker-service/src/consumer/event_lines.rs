//! The lines themselves. A field's name is part of a line's source, so a domain makes its lines by a macro, with what it
//! calls its records' keys: `const LINES: EventLines = event_lines!(device_id);`.

use std::fmt;

use shared::kafka::ids::EventId;

/// The most characters of a text from outside in a line.
const MAX_TEXT: usize = 128;

/// What every line is filed under, whatever the domain.
pub const TARGET: &str = "worker_service::consumer::event_log";

/// Whose event it is and what brought it, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub struct EventNames<'a> {
    /// The record's key.
    pub key: Option<&'a str>,
    /// The event.
    pub event_id: Option<&'a EventId>,
    /// The request that brought it.
    pub request_id: Option<Text<'a>>,
    /// The consumer group that handles it.
    pub group: &'a str,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands there.
    pub offset: i64,
}

/// What became of an event that was processed.
#[derive(Debug, Clone, Copy)]
pub struct ProcessedEvent {
    /// What became of it.
    pub outcome: &'static str,
    /// The version that it brought what it is about to.
    pub version: Option<i64>,
    /// What became of the cache entry.
    pub cache: Option<&'static str>,
}

/// What is said of a batch that failed.
#[derive(Debug, Clone, Copy)]
pub struct BatchFailure<'a> {
    /// How many records it has.
    pub records: usize,
    /// The class of the failure.
    pub class: shared::store::Class,
    /// What becomes of the batch.
    pub then: &'static str,
    /// When it is tried again, where it is held.
    pub retry_s: Option<u64>,
    /// Why.
    pub error: &'a str,
}

/// What is said of a dead letter.
#[derive(Debug, Clone, Copy)]
pub struct LetterFailure<'a> {
    /// `dlq.reason`.
    pub reason: &'static str,
    /// How often it was tried.
    pub attempts: u32,
    /// `dlq.error`.
    pub error: &'a str,
}

/// The lines of a domain's events.
#[derive(Debug, Clone, Copy)]
pub struct EventLines {
    /// What the domain calls its records' keys.
    pub key: &'static str,
    /// An event that is written and fenced.
    pub processed: fn(EventNames<'_>, ProcessedEvent),
    /// A batch, by its first event.
    pub batch_failed: fn(EventNames<'_>, BatchFailure<'_>),
    /// An event of a batch of several.
    pub event_of_failed_batch: fn(EventNames<'_>, &'static str),
    /// An event that alone meets what would be an outage, with the error.
    pub held_alone: fn(EventNames<'_>, &str),
    /// The same, where so much is held that nothing more comes in.
    pub held_alone_and_full: fn(EventNames<'_>, &str),
    /// A dead letter that Kafka holds.
    pub dead_letter: fn(EventNames<'_>, LetterFailure<'_>),
}

/// A text that another producer may have written: of bounded length, and nothing in it ends the line or
/// moves a terminal's cursor.
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

/// A line of an event: the fields that every line has, and more.
#[doc(hidden)]
#[macro_export]
macro_rules! event_line {
    ($key:ident, $level:ident, $event:ident, $($more:tt)+) => {
        ::tracing::$level!(
            target: $crate::consumer::event_lines::TARGET,
            $key = $event.key,
            event_id = $event.event_id.map(::tracing::field::display),
            request_id = $event.request_id.map(::tracing::field::display),
            group = $event.group,
            partition = $event.partition,
            offset = $event.offset,
            $($more)+
        )
    };
}

/// The lines of a domain that calls its records' keys so.
#[macro_export]
macro_rules! event_lines {
    ($key:ident) => {
        $crate::consumer::event_lines::EventLines {
            key: stringify!($key),
            processed: |event, told| {
                $crate::event_line!(
                    $key,
                    info,
                    event,
                    outcome = %told.outcome,
                    version = told.version,
                    cache = told.cache.map(::tracing::field::display),
                    "Processed message"
                );
            },
            batch_failed: |event, told| {
                $crate::event_line!(
                    $key,
                    warn,
                    event,
                    records = told.records,
                    class = ?told.class,
                    then = %told.then,
                    retry_s = told.retry_s,
                    error = told.error,
                    "a batch failed"
                );
            },
            event_of_failed_batch: |event, then| {
                $crate::event_line!($key, info, event, then = %then, "its batch failed");
            },
            held_alone: |event, error| {
                $crate::event_line!(
                    $key,
                    error,
                    event,
                    error = error,
                    "only one key meets an outage error: it is held, and the partition goes on"
                );
            },
            held_alone_and_full: |event, error| {
                $crate::event_line!(
                    $key,
                    error,
                    event,
                    error = error,
                    "only one key meets an outage error: it is held, and the partition waits because too much is held"
                );
            },
            dead_letter: |event, told| {
                $crate::event_line!(
                    $key,
                    warn,
                    event,
                    reason = %told.reason,
                    attempts = told.attempts,
                    error = told.error,
                    "a dead letter"
                );
            },
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
