//! Properties of accepted and of refused input.

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::devices::submission::{Submission, parse};
use shared::devices::{DeviceId, Event, decode};
use shared::kafka::ids::EventId;
use shared::kafka::{Envelope, Outgoing, Record, headers};
use shared::runtime::json::Fault;
use time::OffsetDateTime;

use crate::rules;

/// Asserts the properties of every accepted event.
pub(crate) fn check(body: &Bytes, submission: &Submission) {
    let is_token = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || ['.', '_', ':', '-'].contains(&c));
    let is_id = |text: &str| (1..=64).contains(&text.len()) && is_token(text);
    assert!(rules::is_device(submission.device_id.as_str()));
    assert!(submission.event_id.as_ref().is_none_or(|id| is_id(id.as_str())));
    let key = submission.device_id.cache_key().to_string();
    assert!(is_token(&key.replace('%', "")), "{key} has a character that Redis could take for something else");

    // The payload is a slice of the body, without a copy.
    let payload = submission.payload.as_bytes();
    let inside = body.as_ptr_range().contains(&payload.as_ptr()) && payload.len() <= body.len();
    assert!(inside, "the payload is not a part of the body");
    serde_json::from_slice::<&RawValue>(payload).expect("an accepted payload is JSON");
    assert!(rules::keeps(submission.payload.as_str()), "it was accepted and breaks a rule");

    round_trip(submission);
}

pub(crate) fn taken_by_the_rules(json: &RawValue) {
    let event = format!(r#"{{"device_id":"d","payload":{}}}"#, json.get());
    let taken = parse(&event.into());
    assert_eq!(taken.is_ok(), rules::keeps(json.get()), "{taken:?}");
}

/// A device has an id that follows the rules, and any such id is taken.
pub(crate) fn named_by_the_rules(id: &str) {
    let event = serde_json::json!({"device_id": id, "payload": {}}).to_string();
    let taken = parse(&event.into());
    assert_eq!(taken.is_ok(), rules::is_device(id), "{taken:?}");
}

/// Every JSON pointer refers to a place in the body, or to a missing member.
pub(crate) fn lead_somewhere(faults: &[Fault], body: &[u8]) {
    // `Value` keeps only one of two duplicate keys.
    let twice =
        faults.iter().any(|fault| fault.detail.contains("more than once") || fault.detail.contains("more fault"));
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    for fault in faults.iter().filter(|fault| !twice && fault.detail != "is required") {
        assert!(body.pointer(&fault.pointer).is_some(), "{fault:?} leads nowhere");
    }
}

/// The record that the API would write decodes to the same event.
fn round_trip(submission: &Submission) {
    let at = submission.occurred_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let Submission { device_id, event_type, event_id, payload, .. } = submission.clone();
    let id = event_id.unwrap_or_else(EventId::generate);
    let event = Event { device_id, event_type, payload };
    let envelope = Envelope {
        occurred_at: at,
        request_id: Some("r".to_owned()),
        ..event.envelope(id, OffsetDateTime::UNIX_EPOCH)
    };
    back_from_the_topic(envelope, &event.device_id);
}

pub(crate) fn back_from_the_topic(envelope: Envelope, device_id: &DeviceId) {
    // PostgreSQL gets the time in UTC.
    assert!(envelope.occurred_at.checked_to_offset(time::UtcOffset::UTC).is_some());
    let event = Outgoing { envelope, source: Event::source(device_id) };
    let all = headers(&event);
    let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
    let record = Record::new(Some(device_id.as_str().as_bytes()), Some(&event.envelope.data), &all);
    let again = decode(&record).unwrap_or_else(|poison| panic!("what was accepted is poison: {poison}"));
    assert_eq!(again.envelope, event.envelope);
}
