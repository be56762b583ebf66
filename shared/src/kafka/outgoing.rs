//! An event that the API sends to Kafka, and its headers in binary content mode.

use super::{Envelope, header};
use crate::runtime::rfc3339;

/// The most headers that an event has.
pub const MAX_HEADERS: usize = 11;

/// An event to send to Kafka. The record's key is the envelope's key, and its value is the envelope's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The attributes and the data.
    pub envelope: Envelope,
    /// CloudEvents `source`.
    pub source: String,
}

/// Calls `put` for each header of an event in binary content mode.
pub fn each_header(event: &Outgoing, mut put: impl FnMut(&'static str, &str)) {
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
        (header::TRACEPARENT, &envelope.traceparent),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
}

/// The same as a list.
pub fn headers(event: &Outgoing) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(MAX_HEADERS);
    each_header(event, |name, value| headers.push((name, value.to_owned())));
    headers
}
