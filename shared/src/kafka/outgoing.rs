//! An event that the API sends to Kafka, and its headers in binary content mode.

use super::{Envelope, header};
use crate::runtime::rfc3339;

/// The most headers that an event has, without the extensions of its stream.
const MAX_HEADERS: usize = 13;

/// An event to send to Kafka. The record's key is the envelope's key, and its value is the envelope's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The attributes and the data.
    pub envelope: Envelope,
    /// CloudEvents `source`.
    pub source: String,
}

/// The most headers that this event has.
pub fn max_headers(event: &Outgoing) -> usize {
    MAX_HEADERS + event.envelope.extensions.len()
}

/// Calls `put` for each header of an event in binary content mode.
pub fn each_header(event: &Outgoing, mut put: impl FnMut(&str, &str)) {
    let Outgoing { envelope, source } = event;
    put(header::SPEC_VERSION, "1.0");
    put(header::TYPE, envelope.event_type);
    put(header::SOURCE, source);
    put(header::ID, envelope.id.as_str());
    put(header::SUBJECT, envelope.subject.as_str());
    let accepted_at = rfc3339::format(envelope.accepted_at);
    if envelope.occurred_at == envelope.accepted_at && envelope.occurred_at.offset() == envelope.accepted_at.offset() {
        put(header::TIME, &accepted_at);
    } else {
        put(header::TIME, &rfc3339::format(envelope.occurred_at));
    }
    put(header::ACCEPTED_AT, &accepted_at);
    put(header::CONTENT_TYPE, "application/json");
    for (name, value) in [
        (header::REQUEST_ID, &envelope.request_id),
        (header::USER_ID, &envelope.user_id),
        (header::CORRELATION_ID, &envelope.correlation_id),
        (header::CAUSATION_ID, &envelope.causation_id),
        (header::TRACEPARENT, &envelope.traceparent),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
    // An empty text does not allocate, so that events without extensions cost nothing more.
    let mut header = String::new();
    for (name, value) in &envelope.extensions {
        header.clear();
        header.extend([header::ATTRIBUTE, name]);
        put(&header, value);
    }
}

/// The same as a list.
pub fn headers(event: &Outgoing) -> Vec<(String, String)> {
    let mut headers = Vec::with_capacity(max_headers(event));
    each_header(event, |name, value| headers.push((name.to_owned(), value.to_owned())));
    headers
}
