//! What requests and events are about, under the name that a domain gives it: a field of the log and of traces.

use std::time::Duration;

use shared::kafka::ids::{EventId, Key};
use tracing::Level;

/// The id of what a request or an event is about.
#[derive(Debug, Clone)]
pub struct Subject {
    kind: &'static SubjectKind,
    id: Key,
}

impl Subject {
    /// A subject with this id. The id has to be an identifier, because the log writes it without escapes.
    pub fn new(kind: &'static SubjectKind, id: Key) -> Self {
        Self { kind, id }
    }

    /// Its field's name, and its id.
    pub(crate) fn field(&self) -> (&'static str, &str) {
        (self.kind.field, self.id.as_str())
    }
}

/// What a request, or an event of a batch, is about: for the log and for traces.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Whose event, or what is read.
    pub subject: Option<Subject>,
    pub event_id: Option<EventId>,
}

impl About {
    pub fn subject(subject: Subject) -> Self {
        Self { subject: Some(subject), event_id: None }
    }
}

/// A kind of subject. `subject_kind!(device_id)` makes the one whose field is `device_id`: the names of a log line's
/// fields are fixed when it is compiled.
#[derive(Debug)]
pub struct SubjectKind {
    /// The name of its field in the log and in traces, and of its member in events.
    pub field: &'static str,
    #[doc(hidden)]
    pub log: fn(&Answered<'_>, Option<&str>),
}

/// A request, or an event of a batch, that was answered, or will not be.
#[derive(Debug)]
pub struct Answered<'a> {
    pub level: Level,
    pub request_id: &'a str,
    /// Method and route of a request.
    pub request: Option<(&'static str, &'a str)>,
    /// The place of an event in its batch.
    pub index: Option<usize>,
    pub status: u16,
    pub code: Option<&'static str>,
    pub event_id: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub took: Option<Duration>,
    pub message: &'static str,
}

/// The kind of what has no subject.
static NOTHING: SubjectKind = crate::http::subject::subject_kind!(subject);

impl Answered<'_> {
    pub(crate) fn log(&self, subject: Option<&Subject>) {
        let kind = subject.map_or(&NOTHING, |subject| subject.kind);
        (kind.log)(self, subject.map(|subject| subject.id.as_str()));
    }

    /// In milliseconds, to the microsecond.
    pub fn duration_ms(&self) -> Option<f64> {
        self.took.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// A [`SubjectKind`] by the name of its field.
macro_rules! subject_kind {
    ($field:ident) => {
        $crate::http::subject::SubjectKind {
            field: stringify!($field),
            log: |line, subject| {
                macro_rules! at {
                    ($level:ident) => {
                        // Every text is one that cannot leave its line: ours, or an identifier. Shown as such it has no
                        // quotes in lines for people.
                        tracing::$level!(
                            request_id = %line.request_id,
                            method = line.request.map(|(method, _)| tracing::field::display(method)),
                            route = line.request.map(|(_, route)| tracing::field::display(route)),
                            index = line.index,
                            status = line.status,
                            code = line.code.map(tracing::field::display),
                            $field = subject.map(tracing::field::display),
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
