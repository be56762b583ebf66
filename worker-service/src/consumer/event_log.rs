//! What the log says of events: a line for each that was processed, or whose batch failed, as `ACCESS_LOG` has it, and
//! in any case for each that was not applied. Identifiers, places and outcomes; never a payload.

use std::fmt;

use shared::cache::FenceReport;
use shared::kafka::ids::{EventId, is_identifier};
use shared::kafka::{DeadLetter, Envelope, Record, decode, header};
use shared::runtime::config::AccessLog;
use shared::store::{Class, Failure};
use tracing::Level;

use crate::consumer::handler::Applied;
use crate::observe::panics;
use crate::scheduler::{AfterFailure, Task};

/// The most characters of a text from outside in a line.
const MAX_TEXT: usize = 128;

/// A batch that was written and fenced: one line an event, with its outcome, the version that it brought its
/// resource to, and what became of the cache entry. What is not logged costs a hash at most.
pub fn processed<E>(access_log: AccessLog, batch: &[Task<E>], applied: &Applied, fenced: &FenceReport) {
    if !tracing::enabled!(Level::INFO) {
        return;
    }
    for (task, processed) in batch.iter().zip(&applied.events) {
        let envelope = &task.delivery.envelope;
        // Records of other producers may come without a request.
        let request_id = envelope.request_id.as_deref();
        if processed.counts && !access_log.takes(request_id.unwrap_or(envelope.id.as_str())) {
            continue;
        }
        let cache = processed.fence.and_then(|place| fenced.outcomes.get(place)).map(|outcome| outcome.as_str());
        tracing::info!(
            key = %envelope.key,
            event_id = %envelope.id,
            request_id = request_id.map(Text).map(tracing::field::display),
            partition = task.record.partition,
            offset = task.record.offset,
            outcome = %processed.outcome,
            version = processed.version,
            cache = cache.map(tracing::field::display),
            "Processed message"
        );
    }
}

/// A batch that was not applied, noted before it is handed back to the lane.
pub struct FailedBatch {
    error: String,
    class: Class,
    records: usize,
    partition: i32,
    /// The first event's place, and whose it is.
    offset: i64,
    names: Names,
    /// Of several events, those that have a line of their own.
    events: Vec<(i64, Names)>,
}

impl FailedBatch {
    /// Notes it; none where there is nothing in it.
    pub fn of<E>(batch: &[Task<E>], error: &Failure, access_log: AccessLog) -> Option<Self> {
        let first = batch.first()?;
        let has_line = |task: &&Task<E>| {
            let envelope = &task.delivery.envelope;
            access_log.takes(envelope.request_id.as_deref().unwrap_or(envelope.id.as_str()))
        };
        let events = if batch.len() > 1 && tracing::enabled!(Level::INFO) {
            batch.iter().filter(has_line).map(|task| (task.record.offset, Names::of_task(task))).collect()
        } else {
            Vec::new()
        };
        Some(Self {
            error: error.reason.clone(),
            class: error.class,
            records: batch.len(),
            partition: first.record.partition,
            offset: first.record.offset,
            names: Names::of_task(first),
            events,
        })
    }

    /// Logs it, with what becomes of it. An event that is a dead letter now has its line when Kafka holds
    /// that. `is_full` is where so much is held that nothing more comes in.
    pub fn log(&self, after: AfterFailure, is_full: bool) {
        let retry_s = match after {
            AfterFailure::DeadLetter => return,
            AfterFailure::Held(delay) => Some(delay.as_secs()),
            AfterFailure::HeldAlone(delay) => {
                self.log_alone(is_full);
                Some(delay.as_secs())
            }
            AfterFailure::TriedAgain | AfterFailure::Waits | AfterFailure::Split => None,
        };
        tracing::warn!(
            key = self.names.key(),
            event_id = self.names.event_id().map(tracing::field::display),
            request_id = self.names.request_id().map(tracing::field::display),
            partition = self.partition,
            offset = self.offset,
            records = self.records,
            class = ?self.class,
            then = %after.as_str(),
            retry_s,
            error = self.error,
            "a batch failed"
        );
        for (offset, names) in &self.events {
            tracing::info!(
                key = names.key(),
                event_id = names.event_id().map(tracing::field::display),
                request_id = names.request_id().map(tracing::field::display),
                partition = self.partition,
                offset,
                then = %after.as_str(),
                "its batch failed"
            );
        }
    }

    fn log_alone(&self, is_full: bool) {
        let key = self.names.key();
        let (partition, offset, error) = (self.partition, self.offset, self.error.as_str());
        if is_full {
            tracing::error!(
                key,
                partition,
                offset,
                error,
                "one key alone meets what would be an outage: it is held, and so much is held that the partition waits"
            );
        } else {
            tracing::error!(
                key,
                partition,
                offset,
                error,
                "one key alone meets what would be an outage: it is held, and the partition goes on"
            );
        }
    }
}

/// What a probe came to: whether events of others would be applied.
pub fn probe(partition: i32, result: &Result<(), Failure>) {
    match result {
        Ok(()) => tracing::debug!(partition, "a probe succeeded: events of others would be applied"),
        Err(error) => tracing::warn!(
            partition,
            class = ?error.class,
            error = %error,
            "a probe failed: an event that nobody sent, to find out whether others would be applied"
        ),
    }
}

/// A dead letter that Kafka holds.
pub fn dead_letter(letter: &DeadLetter, types: &[&'static str]) {
    let names = Names::of_record(&letter.record, types);
    tracing::warn!(
        key = names.key(),
        event_id = names.event_id().map(tracing::field::display),
        request_id = names.request_id().map(tracing::field::display),
        partition = letter.record.partition,
        offset = letter.record.offset,
        reason = %letter.reason.as_str(),
        attempts = letter.attempts,
        error = letter.error,
        "a dead letter"
    );
}

/// Whose event it is and what brought it, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    key: Option<String>,
    event_id: Option<EventId>,
    request_id: Option<String>,
}

impl Names {
    fn of_task<E>(task: &Task<E>) -> Self {
        Self::of_envelope(&task.delivery.envelope)
    }

    fn of_envelope(envelope: &Envelope) -> Self {
        Self {
            key: Some(envelope.key.to_string()),
            event_id: Some(envelope.id.clone()),
            request_id: envelope.request_id.clone(),
        }
    }

    /// Of a record that may be no event: what it holds that is an identifier. A structured record has its names in its
    /// value, where only decoding finds them.
    fn of_record(record: &Record, types: &[&'static str]) -> Self {
        // What panicked once does so again.
        if let Ok(Ok((envelope, _))) = panics::caught(|| decode(record, types)) {
            return Self::of_envelope(&envelope);
        }
        let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
        let header = |name: &str| text(record.header(name));
        let identifier = |text: Option<String>| text.filter(|text| is_identifier(text));
        Self {
            key: identifier(text(record.key())).or_else(|| identifier(header(header::SUBJECT))),
            event_id: header(header::ID).and_then(|text| text.parse().ok()),
            request_id: header(header::REQUEST_ID),
        }
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn event_id(&self) -> Option<&EventId> {
        self.event_id.as_ref()
    }

    fn request_id(&self) -> Option<Text<'_>> {
        self.request_id.as_deref().map(Text)
    }
}

/// A text that another producer may have written: of bounded length, and nothing in it ends the line or
/// moves a terminal's cursor.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_TEXT) {
            write!(f, "{}", character.escape_debug())?;
        }
        if characters.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
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

    fn names(key: &str, value: &str, headers: &[(&str, &str)]) -> [Option<String>; 3] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let record = Record::new(Some(key.as_bytes()), Some(value.as_bytes()), &headers);
        let Names { key, event_id, request_id } = Names::of_record(&record, &["io.edge.device.reported.v1"]);
        [key, event_id.map(|id| id.to_string()), request_id]
    }

    #[test]
    fn of_a_record_that_is_no_event_its_identifiers_are_known_and_nothing_else() {
        let some = |text: &str| Some(text.to_owned());
        let binary = [("ce_id", "e"), ("ce_subject", "other"), ("ce_requestid", "r")];
        assert_eq!(names("d", "no json", &binary), [some("d"), some("e"), some("r")]);
        assert_eq!(names("no id", "no json", &binary), [some("other"), some("e"), some("r")]);
        assert_eq!(names("no id", "{}", &[("ce_id", "{secret}")]), [None, None, None]);
        let structured = r#"{"specversion":"1.0","type":"io.edge.device.reported.v1","id":"e","subject":"d","requestid":"r","data":{}}"#;
        let content_type = [("content-type", "application/cloudevents+json")];
        assert_eq!(names("d", structured, &content_type), [some("d"), some("e"), some("r")]);
    }
}
