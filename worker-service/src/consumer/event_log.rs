//! Logs events: a line for each event that was processed or whose batch failed, as far as `ACCESS_LOG` selects it, and
//! always a line for each event that was not applied. Lines have identifiers, offsets and outcomes, never a payload.

use shared::cache::FenceReport;
use shared::kafka::ids::{EventId, is_subject};
use shared::kafka::{DeadLetter, Envelope, Record, StreamSpec, decode, header};
use shared::runtime::config::AccessLog;
use shared::store::{Class, Failure};
use tracing::Level;

use crate::consumer::event_lines::{EventLine, EventLines, TARGET, Text};
use crate::consumer::handler::Applied;
use crate::observe::panics;
use crate::scheduler::{AfterFailure, Task};

const HELD_ALONE: &str = "only one key meets an outage error: it is held, and the partition goes on";
const HELD_ALONE_AND_FULL: &str =
    "only one key meets an outage error: it is held, and the partition waits because too much is held";

/// Logs a batch that was written and fenced: one line per event, with its outcome, the new version of its resource, and
/// the result of the fence. An event that is not logged costs at most a hash.
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
        if processed.counts && !has_line(access_log, task) {
            continue;
        }
        let cache = processed.fence.and_then(|place| fenced.outcomes.get(place)).map(|outcome| outcome.as_str());
        let line = EventLine::of(group, &task.delivery.envelope, task.record.partition, task.record.offset);
        let (outcome, reason, version) = (Some(processed.outcome), processed.reason, processed.version);
        (lines.info)(EventLine { outcome, reason, version, cache, ..line }, "Processed message");
    }
}

fn has_line<E>(access_log: AccessLog, task: &Task<E>) -> bool {
    let envelope = &task.delivery.envelope;
    access_log.takes(envelope.request_id.as_deref().unwrap_or(envelope.id.as_str()))
}

/// A batch that was not applied, recorded before it goes back to the scheduler.
pub struct FailedBatch {
    error: String,
    class: Class,
    records: usize,
    partition: i32,
    /// The first event, and its offset.
    first: (Envelope, i64),
    /// If there are several events: those that get a line of their own.
    events: Vec<(Envelope, i64)>,
}

impl FailedBatch {
    /// Records a batch; `None` if it is empty.
    pub fn of<E>(batch: &[Task<E>], error: &Failure, access_log: AccessLog) -> Option<Self> {
        let first = batch.first()?;
        let noted = |task: &Task<E>| (task.delivery.envelope.clone(), task.record.offset);
        let events = if batch.len() > 1 && tracing::enabled!(target: TARGET, Level::INFO) {
            batch.iter().filter(|task| has_line(access_log, task)).map(noted).collect()
        } else {
            Vec::new()
        };
        let (error, class, partition) = (error.reason.clone(), error.class, first.record.partition);
        Some(Self { error, class, records: batch.len(), partition, first: noted(first), events })
    }

    /// Logs it, with what happens next. An event that becomes a dead letter is logged later, once Kafka has the dead
    /// letter. `is_full` says that the held events have reached a bound, so that no more records come in.
    pub fn log(&self, lines: &EventLines, group: &str, after: AfterFailure, is_full: bool) {
        let line = |(envelope, offset)| EventLine::of(group, envelope, self.partition, offset);
        let (envelope, offset) = &self.first;
        let first = EventLine { error: Some(&self.error), ..line((envelope, *offset)) };
        let retry_s = match after {
            AfterFailure::DeadLetter => return,
            AfterFailure::Held(delay) => Some(delay.as_secs()),
            AfterFailure::HeldAlone(delay) => {
                (lines.error)(first, if is_full { HELD_ALONE_AND_FULL } else { HELD_ALONE });
                Some(delay.as_secs())
            }
            AfterFailure::TriedAgain | AfterFailure::Waits | AfterFailure::Split => None,
        };
        let (records, class, then) = (Some(self.records), Some(self.class), Some(after.as_str()));
        (lines.warn)(EventLine { records, class, then, retry_s, ..first }, "a batch failed");
        for (envelope, offset) in &self.events {
            (lines.info)(EventLine { then, ..line((envelope, *offset)) }, "its batch failed");
        }
    }
}

/// Logs the result of a probe: whether other events could be applied.
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

/// Logs a dead letter that Kafka has acknowledged.
pub fn dead_letter(lines: &EventLines, group: &str, letter: &DeadLetter, stream: &StreamSpec) {
    let (reason, attempts, error) = (Some(letter.reason.as_str()), Some(letter.attempts), Some(&*letter.error));
    with_names(group, &letter.record, stream, |line| {
        (lines.warn)(EventLine { reason, attempts, error, ..line }, "a dead letter");
    });
}

/// Logs a record that may be no event, with the identifiers that can be found in it. A structured-mode record has them
/// in its value, where only decoding finds them.
fn with_names<'r, T>(group: &str, record: &'r Record, stream: &StreamSpec, log: impl FnOnce(EventLine<'_>) -> T) -> T {
    let (partition, offset) = (record.partition, record.offset);
    // A record whose decoding panicked before panics here again.
    if let Ok(Ok((envelope, _))) = panics::caught(|| decode(record, stream)) {
        return log(EventLine::of(group, &envelope, partition, offset));
    }
    let text = |bytes: &'r [u8]| std::str::from_utf8(bytes).ok();
    let header = |name: &str| record.header(name).and_then(text);
    let key = record.key().and_then(text).filter(|key| is_subject(key));
    let event_id: Option<EventId> = header(header::ID).and_then(|text| text.parse().ok());
    log(EventLine {
        key: key.or_else(|| header(header::SUBJECT).filter(|subject| is_subject(subject))),
        event_id: event_id.as_ref(),
        request_id: header(header::REQUEST_ID).map(Text),
        group,
        partition,
        offset,
        ..EventLine::default()
    })
}

#[cfg(test)]
mod tests {
    use shared::kafka::Setting;

    use super::*;

    const SETTING: Setting = Setting::new("", "", "", "");
    const STREAM: StreamSpec = StreamSpec {
        name: "",
        topic: SETTING,
        dead_letters: SETTING,
        types: &["io.edge.device.reported.v1"],
        extensions: &[],
        transactional: false,
    };

    fn names(key: &str, value: &str, headers: &[(&str, &str)]) -> [Option<String>; 3] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let record = Record::new(Some(key.as_bytes()), Some(value.as_bytes()), &headers);
        with_names("g", &record, &STREAM, |EventLine { key, event_id, request_id, .. }| {
            [key.map(str::to_owned), event_id.map(ToString::to_string), request_id.map(|id| id.0.to_owned())]
        })
    }

    #[test]
    fn of_a_record_that_is_no_event_its_identifiers_are_known_and_nothing_else() {
        let some = |text: &str| Some(text.to_owned());
        let binary = [("ce_id", "e"), ("ce_subject", "other"), ("ce_requestid", "r")];
        assert_eq!(names("d", "no json", &binary), [some("d"), some("e"), some("r")]);
        assert_eq!(names("line 1/d", "no json", &binary), [some("line 1/d"), some("e"), some("r")]);
        assert_eq!(names("no\nid", "no json", &binary), [some("other"), some("e"), some("r")]);
        assert_eq!(names("no\nid", "{}", &[("ce_id", "{secret}")]), [None, None, None]);
        let structured = r#"{"specversion":"1.0","type":"io.edge.device.reported.v1","id":"e","subject":"d","requestid":"r","data":{}}"#;
        let content_type = [("content-type", "application/cloudevents+json")];
        assert_eq!(names("d", structured, &content_type), [some("d"), some("e"), some("r")]);
    }
}
