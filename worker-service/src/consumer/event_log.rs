//! What the log says of events: a line for each that was processed, or whose batch failed, as `ACCESS_LOG` has it, and
//! in any case for each that was not applied. Identifiers, places and outcomes; never a payload.

use shared::cache::FenceReport;
use shared::kafka::ids::{EventId, is_identifier};
use shared::kafka::{DeadLetter, Envelope, Record, decode, header};
use shared::runtime::config::AccessLog;
use shared::store::{Class, Failure};
use tracing::Level;

use crate::consumer::event_lines::{BatchFailure, EventLines, EventNames, LetterFailure, ProcessedEvent, TARGET, Text};
use crate::consumer::handler::Applied;
use crate::observe::panics;
use crate::scheduler::{AfterFailure, Task};

/// A batch that was written and fenced: one line an event, with its outcome, the version that it brought its
/// resource to, and what became of the cache entry. What is not logged costs a hash at most.
pub fn processed<E>(
    lines: &EventLines,
    group: &str,
    access_log: AccessLog,
    batch: &[Task<E>],
    applied: &Applied,
    fenced: &FenceReport,
) {
    if !tracing::enabled!(target: TARGET, Level::INFO) {
        return;
    }
    for (task, processed) in batch.iter().zip(&applied.events) {
        let envelope = &task.delivery.envelope;
        // Records of other producers may come without a request.
        let request_id = envelope.request_id.as_deref();
        if processed.counts && !access_log.takes(request_id.unwrap_or(envelope.id.as_str())) {
            continue;
        }
        let event = EventNames {
            key: Some(envelope.key.as_str()),
            event_id: Some(&envelope.id),
            request_id: request_id.map(Text),
            group,
            partition: task.record.partition,
            offset: task.record.offset,
        };
        let cache = processed.fence.and_then(|place| fenced.outcomes.get(place)).map(|outcome| outcome.as_str());
        (lines.processed)(event, ProcessedEvent { outcome: processed.outcome, version: processed.version, cache });
    }
}

/// A batch that was not applied, noted before it is handed back to the scheduler.
pub struct FailedBatch {
    error: String,
    class: Class,
    records: usize,
    /// The first event.
    first: Names,
    /// Of several events, those that have a line of their own.
    events: Vec<Names>,
}

impl FailedBatch {
    /// Notes it; none where there is nothing in it.
    pub fn of<E>(batch: &[Task<E>], error: &Failure, access_log: AccessLog) -> Option<Self> {
        let first = batch.first()?;
        let has_line = |task: &&Task<E>| {
            let envelope = &task.delivery.envelope;
            access_log.takes(envelope.request_id.as_deref().unwrap_or(envelope.id.as_str()))
        };
        let events = if batch.len() > 1 && tracing::enabled!(target: TARGET, Level::INFO) {
            batch.iter().filter(has_line).map(Names::of_task).collect()
        } else {
            Vec::new()
        };
        let (error, class) = (error.reason.clone(), error.class);
        Some(Self { error, class, records: batch.len(), first: Names::of_task(first), events })
    }

    /// Logs it, with what becomes of it. An event that is a dead letter now has its line when Kafka holds
    /// that. `is_full` is where so much is held that nothing more comes in.
    pub fn log(&self, lines: &EventLines, group: &str, after: AfterFailure, is_full: bool) {
        let first = self.first.shown(group);
        let retry_s = match after {
            AfterFailure::DeadLetter => return,
            AfterFailure::Held(delay) => Some(delay.as_secs()),
            AfterFailure::HeldAlone(delay) => {
                let held_alone = if is_full { lines.held_alone_and_full } else { lines.held_alone };
                held_alone(first, &self.error);
                Some(delay.as_secs())
            }
            AfterFailure::TriedAgain | AfterFailure::Waits | AfterFailure::Split => None,
        };
        let (records, class, then, error) = (self.records, self.class, after.as_str(), self.error.as_str());
        (lines.batch_failed)(first, BatchFailure { records, class, then, retry_s, error });
        for event in &self.events {
            (lines.event_of_failed_batch)(event.shown(group), then);
        }
    }
}

/// What a probe came to: whether events of others would be applied.
pub fn probe(group: &str, partition: i32, result: &Result<(), Failure>) {
    match result {
        Ok(()) => tracing::debug!(group, partition, "a probe succeeded: other events can be applied"),
        Err(error) => tracing::warn!(
            group,
            partition,
            class = ?error.class,
            error = %error,
            "a probe failed: a test event of the worker's own could not be applied"
        ),
    }
}

/// A dead letter that Kafka holds.
pub fn dead_letter(lines: &EventLines, group: &str, letter: &DeadLetter, types: &[&'static str]) {
    let names = Names::of_record(&letter.record, types);
    let (reason, attempts, error) = (letter.reason.as_str(), letter.attempts, letter.error.as_str());
    (lines.dead_letter)(names.shown(group), LetterFailure { reason, attempts, error });
}

/// The names of an event, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    key: Option<String>,
    event_id: Option<EventId>,
    request_id: Option<String>,
    partition: i32,
    offset: i64,
}

impl Names {
    fn of_task<E>(task: &Task<E>) -> Self {
        Self::of_envelope(&task.delivery.envelope, &task.record)
    }

    fn of_envelope(envelope: &Envelope, record: &Record) -> Self {
        Self {
            key: Some(envelope.key.to_string()),
            event_id: Some(envelope.id.clone()),
            request_id: envelope.request_id.clone(),
            partition: record.partition,
            offset: record.offset,
        }
    }

    /// Of a record that may be no event: what it holds that is an identifier. A structured record has its names in its
    /// value, where only decoding finds them.
    fn of_record(record: &Record, types: &[&'static str]) -> Self {
        // What panicked once does so again.
        if let Ok(Ok((envelope, _))) = panics::caught(|| decode(record, types)) {
            return Self::of_envelope(&envelope, record);
        }
        let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
        let header = |name: &str| text(record.header(name));
        let identifier = |text: Option<String>| text.filter(|text| is_identifier(text));
        Self {
            key: identifier(text(record.key())).or_else(|| identifier(header(header::SUBJECT))),
            event_id: header(header::ID).and_then(|text| text.parse().ok()),
            request_id: header(header::REQUEST_ID),
            partition: record.partition,
            offset: record.offset,
        }
    }

    fn shown<'a>(&'a self, group: &'a str) -> EventNames<'a> {
        EventNames {
            key: self.key.as_deref(),
            event_id: self.event_id.as_ref(),
            request_id: self.request_id.as_deref().map(Text),
            group,
            partition: self.partition,
            offset: self.offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(key: &str, value: &str, headers: &[(&str, &str)]) -> [Option<String>; 3] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let record = Record::new(Some(key.as_bytes()), Some(value.as_bytes()), &headers);
        let Names { key, event_id, request_id, .. } = Names::of_record(&record, &["io.edge.device.reported.v1"]);
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
