//! The subjects of requests and events, each kind named by its domain: a field of the log and of traces.

use std::time::Duration;

use shared::kafka::ids::{EventId, Key};
use tracing::Level;

/// The subject of a request or an event.
#[derive(Debug, Clone)]
pub struct Subject {
    kind: &'static SubjectKind,
    id: Key,
}

impl Subject {
    /// A subject with this id.
    pub fn new(kind: &'static SubjectKind, id: Key) -> Self {
        Self { kind, id }
    }

    /// The name of the field, and the id.
    pub(crate) fn field(&self) -> (&'static str, &str) {
        (self.kind.field, self.id.as_str())
    }
}

/// The subject and the event id of a request, or of an event of a batch: for the log and for traces.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The subject of the event, or the resource that is read.
    pub subject: Option<Subject>,
    pub event_id: Option<EventId>,
}

impl About {
    pub fn subject(subject: Subject) -> Self {
        Self { subject: Some(subject), event_id: None }
    }
}

/// A kind of subject. `subject_kind!(device_id)` makes the kind with the field `device_id`: the names of the fields of
/// a log line are fixed at compile time.
#[derive(Debug)]
pub struct SubjectKind {
    /// The name of the field in the log and in traces, and of the member in events.
    pub field: &'static str,
    #[doc(hidden)]
    pub log: fn(&Answered<'_>, Option<&str>),
}

/// A request, or an event of a batch, with its result, for the log.
#[derive(Debug)]
pub struct Answered<'a> {
    pub level: Level,
    pub request_id: &'a str,
    /// Method and route of a request.
    pub request: Option<(&'static str, &'a str)>,
    /// The position of an event in its batch.
    pub index: Option<usize>,
    pub status: u16,
    pub code: Option<&'static str>,
    pub event_id: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub took: Option<Duration>,
    pub message: &'static str,
}

/// The kind of a missing subject.
static NOTHING: SubjectKind = crate::http::subject::subject_kind!(subject);

impl Answered<'_> {
    pub(crate) fn log(&self, subject: Option<&Subject>) {
        let kind = subject.map_or(&NOTHING, |subject| subject.kind);
        (kind.log)(self, subject.map(|subject| subject.id.as_str()));
    }

    /// The duration in milliseconds, to the microsecond.
    pub fn duration_ms(&self) -> Option<f64> {
        self.took.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// The [`SubjectKind`] with this field.
macro_rules! subject_kind {
    ($field:ident) => {
        $crate::http::subject::SubjectKind {
            field: stringify!($field),
            log: |line, subject| {
                let displayed = subject.map(tracing::field::display);
                // Quoted if it has other characters than a token: `a status=202` must not look like two fields.
                let value = match (&displayed, &subject) {
                    (Some(displayed), Some(text)) if shared::kafka::ids::is_plain(text) => {
                        Some(displayed as &dyn tracing::Value)
                    }
                    (_, subject) => subject.as_ref().map(|text| text as &dyn tracing::Value),
                };
                macro_rules! at {
                    ($level:ident) => {
                        // No text can break out of its line: each is ours, a token, or escaped. Displayed, it has no
                        // quotes in the human-readable format.
                        tracing::$level!(
                            request_id = %line.request_id,
                            method = line.request.map(|(method, _)| tracing::field::display(method)),
                            route = line.request.map(|(_, route)| tracing::field::display(route)),
                            index = line.index,
                            status = line.status,
                            code = line.code.map(tracing::field::display),
                            $field = value,
                            event_id = line.event_id.map(tracing::field::display),
                            trace_id = line.trace_id.map(tracing::field::display),
                            duration_ms = line.duration_ms(),
                            "{}", line.message
                        )
                    };
                }
                match line.level {
                    tracing::Level::WARN => at!(warn),
                    tracing::Level::INFO => at!(info),
                    _ => at!(debug),
                }
            },
        }
    };
}
pub(crate) use subject_kind;
