//! The rules once more, written in another way: slowly, over a parsed value.

use bytes::Bytes;
use serde_json::Value;
use shared::event::body::Submission;
use shared::event::{Event, EventId, EventType, Payload};
use shared::topic::{Record, decode, headers};
use time::OffsetDateTime;

/// What is true of everything that was accepted.
pub(crate) fn check(body: &Bytes, submission: &Submission) {
    let is_id = |text: &str, most: usize| {
        (1..=most).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ['.', '_', ':', '-'].contains(&c))
    };
    assert!(is_id(submission.device_id.as_str(), 128));
    assert!(submission.event_id.as_ref().is_none_or(|id| is_id(id.as_str(), 64)));

    // Byte for byte what was sent, in the very memory.
    let payload = submission.payload.as_bytes();
    let inside = body.as_ptr_range().contains(&payload.as_ptr()) && payload.len() <= body.len();
    assert!(inside, "the payload is not a part of the body");
    let value: Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        // It reads doubles inexactly, and the greatest of them not at all.
        Err(error) if error.to_string().starts_with("number out of range") => return round_trip(submission),
        Err(error) => panic!("an accepted payload is not JSON: {error}"),
    };
    assert!(value.is_object());
    assert!(depth(&value) <= 64 && payload.len() <= 256 * 1024);
    assert!(!has_nul(&value));
    // Keys that were there twice are not there any more.
    assert_eq!(members(&value), colons(payload), "a key is there twice");

    round_trip(submission);
}

/// What the API would write comes back from the topic as it was.
fn round_trip(submission: &Submission) {
    let at = submission.occurred_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let event = Event {
        device_id: submission.device_id.clone(),
        event_id: submission.event_id.clone().unwrap_or_else(EventId::generate),
        event_type: EventType::DeviceReported,
        payload: submission.payload.clone(),
        occurred_at: at,
        accepted_at: OffsetDateTime::UNIX_EPOCH,
        request_id: Some("r".to_owned()),
        user_id: None,
        traceparent: None,
    };
    back_from_the_topic(&event);
}

/// An event that is written and read again is the same.
pub(crate) fn back_from_the_topic(event: &Event) {
    // PostgreSQL is told in UTC.
    assert!(event.occurred_at.checked_to_offset(time::UtcOffset::UTC).is_some());
    let all = headers(event);
    let all: Vec<_> = all.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    let record = Record::new(Some(event.device_id.as_str().as_bytes()), Some(event.payload.as_bytes()), &all);
    let again = decode(&record).unwrap_or_else(|poison| panic!("what was accepted is poison: {poison}"));
    assert_eq!(again.event, *event);
}

/// Whether a payload that is written as serde writes it keeps all rules.
pub(crate) fn is_payload(value: &Value) -> bool {
    let text = value.to_string();
    // Numbers are written out at up to 308 digits: far from that limit nothing has to be counted.
    let plain = text.len() < 1024;
    value.is_object()
        && depth(value) <= 64
        && !has_nul(value)
        && plain
        && Payload::check(text.into(), "").is_ok() == plain
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(all) => all.len() + all.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// The colons outside of strings: one for each member.
fn colons(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}
