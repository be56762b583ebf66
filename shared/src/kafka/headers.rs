//! The headers of an event in binary content mode: what the API writes.

use super::Envelope;
use crate::runtime::rfc3339;

/// Header names, as the Kafka protocol binding of CloudEvents 1.0 has them.
pub mod header {
    /// CloudEvents `specversion`.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// CloudEvents `type`.
    pub const TYPE: &str = "ce_type";
    /// CloudEvents `source`.
    pub const SOURCE: &str = "ce_source";
    /// CloudEvents `id`.
    pub const ID: &str = "ce_id";
    /// CloudEvents `subject`: what the event is about.
    pub const SUBJECT: &str = "ce_subject";
    /// CloudEvents `time`: when it occurred, else when it was accepted.
    pub const TIME: &str = "ce_time";
    /// Extension: when the API accepted it.
    pub const ACCEPTED_AT: &str = "ce_acceptedat";
    /// Extension: the HTTP request that brought it.
    pub const REQUEST_ID: &str = "ce_requestid";
    /// Extension: the token's subject.
    pub const USER_ID: &str = "ce_userid";
    /// The media type of the value.
    pub const CONTENT_TYPE: &str = "content-type";
    /// W3C Trace Context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Where a redriven record first stood: topic.
    pub const ORIGIN_TOPIC: &str = "origin.topic";
    /// Where a redriven record first stood: partition.
    pub const ORIGIN_PARTITION: &str = "origin.partition";
    /// Where a redriven record first stood: offset.
    pub const ORIGIN_OFFSET: &str = "origin.offset";
    /// Where a redriven record first stood: append time, milliseconds since the Unix epoch.
    pub const ORIGIN_TIMESTAMP: &str = "origin.timestamp";
}

/// The most headers that an event has.
pub const MAX_HEADERS: usize = 11;

/// An event on its way to Kafka. Its record's key is the envelope's, and its value the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What every event says.
    pub envelope: Envelope,
    /// CloudEvents `source`.
    pub source: String,
}

/// The headers of an event in binary content mode, one after the other.
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
