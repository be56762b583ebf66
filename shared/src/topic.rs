//! How an event lies in Kafka: CloudEvents 1.0 over its Kafka protocol binding.
//!
//! The API writes the **binary** content mode: the value is the payload, byte for byte, and the
//! attributes are headers. **Structured** records of other producers are understood too.

mod dead_letter;
mod decode;
mod record;
pub mod setup;

pub use dead_letter::{DeadLetter, Reason};
pub use decode::{Decoded, Poison, decode};
pub use record::Record;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::Event;

/// Header names, as the Kafka protocol binding of CloudEvents 1.0 has them.
pub mod header {
    /// CloudEvents `specversion`.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// CloudEvents `type`.
    pub const TYPE: &str = "ce_type";
    /// CloudEvents `source`: `/devices/{device_id}`.
    pub const SOURCE: &str = "ce_source";
    /// CloudEvents `id`.
    pub const ID: &str = "ce_id";
    /// CloudEvents `subject`: the device.
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

/// The headers of an event in binary content mode. The record's key is the device id, and its
/// value the payload.
pub fn headers(event: &Event) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        (header::SPEC_VERSION, "1.0".to_owned()),
        (header::TYPE, event.event_type.as_str().to_owned()),
        (header::SOURCE, format!("/devices/{}", event.device_id)),
        (header::ID, event.event_id.to_string()),
        (header::SUBJECT, event.device_id.to_string()),
        (header::TIME, rfc3339(event.occurred_at)),
        (header::ACCEPTED_AT, rfc3339(event.accepted_at)),
        (header::CONTENT_TYPE, "application/json".to_owned()),
    ];
    let optional = [
        (header::REQUEST_ID, &event.request_id),
        (header::USER_ID, &event.user_id),
        (header::TRACEPARENT, &event.traceparent),
    ];
    headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    headers
}

/// A time as text. Years that RFC 3339 cannot write do not come in: they were parsed from it.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}
