//! From a record to the event in it. Pure.

mod origin;

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::client_headers::UNREAD;
use super::{Reason, Record, Refusal, header};
use crate::event::{Event, EventType, Payload};
use crate::position::Position;
use crate::untold::untold;

/// An event and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The event.
    pub event: Event,
    /// Its place: the record's own, or where a redriven one first stood.
    pub position: Position,
}

/// Decodes a record in binary or structured content mode.
///
/// # Errors
/// It is no event, or one of a type that this version does not know; with the first reason found.
pub fn decode(record: &Record) -> Result<Decoded, Refusal> {
    if record.headers_are_unread() {
        return poison(format!("{UNREAD}; they are not in the letter"));
    }
    for (name, _) in record.headers() {
        utf8("a header's name", name)?;
    }
    let content_type = text(record, header::CONTENT_TYPE)?.unwrap_or_default().to_ascii_lowercase();
    let event = if content_type.starts_with("application/cloudevents+json") {
        structured(record)?
    } else {
        binary(record, &content_type)?
    };
    if record.key() != Some(event.device_id.as_str().as_bytes()) {
        return poison("the key is not the subject");
    }
    Ok(Decoded { event, position: position(record)? })
}

fn binary(record: &Record, content_type: &str) -> Result<Event, Refusal> {
    match required(record, header::SPEC_VERSION)? {
        "1.0" => {}
        _ => return poison("ce_specversion is not 1.0"),
    }
    // Before all else: what an event of another type holds, and how, is not known here.
    let event_type = event_type(header::TYPE, required(record, header::TYPE)?)?;
    if !content_type.is_empty() && !content_type.starts_with("application/json") {
        return poison("content-type is not JSON");
    }
    let event_id = parse(header::ID, required(record, header::ID)?)?;
    let device_id = parse(header::SUBJECT, required(record, header::SUBJECT)?)?;
    let accepted_at = accepted_at(record)?;
    let occurred_at = match text(record, header::TIME)? {
        Some(text) => instant(header::TIME, text)?,
        None => accepted_at,
    };
    let Some(value) = record.value() else { return poison("it has no value") };
    Ok(Event {
        device_id,
        event_id,
        event_type,
        payload: payload(&value, None)?,
        occurred_at,
        accepted_at,
        request_id: owned(record, header::REQUEST_ID)?,
        user_id: owned(record, header::USER_ID)?,
        traceparent: owned(record, header::TRACEPARENT)?,
    })
}

/// What every CloudEvent has.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// The JSON format of CloudEvents 1.0, as far as it is used here; further attributes are let be.
#[derive(Deserialize)]
struct Envelope<'a> {
    id: String,
    subject: String,
    time: Option<String>,
    requestid: Option<String>,
    userid: Option<String>,
    traceparent: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn structured(record: &Record) -> Result<Event, Refusal> {
    let Some(value) = record.value() else { return poison("it has no value") };
    let text = utf8("value", &value)?;
    // serde's message could quote a value: its kind and place say enough.
    let not_one = |error: serde_json::Error| {
        poisoned(format!("not a CloudEvent in JSON ({:?} error at column {})", error.classify(), error.column()))
    };
    // As in binary mode: first what makes it an event of a type that is known.
    let kind: Kind<'_> = serde_json::from_str(text).map_err(not_one)?;
    if kind.specversion != "1.0" {
        return poison("specversion is not 1.0");
    }
    let event_type = event_type("type", &kind.r#type)?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(not_one)?;
    let accepted_at = accepted_at(record)?;
    Ok(Event {
        device_id: parse("subject", &envelope.subject)?,
        event_id: parse("id", &envelope.id)?,
        event_type,
        payload: payload(&value, Some(envelope.data))?,
        occurred_at: envelope.time.map_or(Ok(accepted_at), |text| instant("time", &text))?,
        accepted_at,
        request_id: storable("requestid", envelope.requestid)?,
        user_id: storable("userid", envelope.userid)?,
        traceparent: storable("traceparent", envelope.traceparent)?,
    })
}

/// Checks the payload: the whole value, or the part of it that is `data`.
fn payload(value: &Bytes, data: Option<&RawValue>) -> Result<Payload, Refusal> {
    let json = match data {
        Some(raw) => value.slice_ref(raw.get().as_bytes()),
        None => {
            let raw: &RawValue = serde_json::from_str(utf8("value", value)?)
                .map_err(|error| poisoned(format!("the value is not JSON (at column {})", error.column())))?;
            value.slice_ref(raw.get().as_bytes())
        }
    };
    Payload::check(json, "").map_err(|faults| {
        // It quotes keys.
        poisoned(faults.first().map_or_else(String::new, |fault| format!("the payload {}", untold(&fault.detail))))
    })
}

fn accepted_at(record: &Record) -> Result<OffsetDateTime, Refusal> {
    match text(record, header::ACCEPTED_AT)? {
        Some(text) => instant(header::ACCEPTED_AT, text),
        None => Ok(record.timestamp),
    }
}

fn position(record: &Record) -> Result<Position, Refusal> {
    Ok(origin::of(record)?.unwrap_or_else(|| Position {
        topic: record.topic.clone(),
        partition: record.partition,
        offset: record.offset,
        appended_at: record.timestamp,
        redriven: false,
        create_time: record.create_time,
    }))
}

/// Whether a record has a first place that could be one.
pub(super) fn is_redriven(record: &Record) -> bool {
    matches!(origin::of(record), Ok(Some(_)))
}

fn poisoned(error: impl Into<String>) -> Refusal {
    Refusal { reason: Reason::Undecodable, error: error.into() }
}

fn poison<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(poisoned(reason))
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| poisoned(format!("{name} is not UTF-8")))?;
    without_nul(name, text)?;
    Ok(text)
}

fn storable(name: &str, text: Option<String>) -> Result<Option<String>, Refusal> {
    text.as_deref().map_or(Ok(()), |text| without_nul(name, text))?;
    Ok(text)
}

/// PostgreSQL's text cannot hold it; a header could bring it, and an escape in JSON.
fn without_nul(name: &str, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') { Err(poisoned(format!("{name} contains a NUL"))) } else { Ok(()) }
}

fn text<'a>(record: &'a Record, name: &str) -> Result<Option<&'a str>, Refusal> {
    record.header(name).map(|bytes| utf8(name, bytes)).transpose()
}

fn owned(record: &Record, name: &str) -> Result<Option<String>, Refusal> {
    Ok(text(record, name)?.map(str::to_owned))
}

fn required<'a>(record: &'a Record, name: &str) -> Result<&'a str, Refusal> {
    text(record, name)?.ok_or_else(|| poisoned(format!("{name} is missing")))
}

/// A type that is not known is no fault of the event: a later version may know it.
fn event_type(name: &str, text: &str) -> Result<EventType, Refusal> {
    if text.is_empty() {
        return Err(poisoned(format!("{name} is empty")));
    }
    text.parse().map_err(|error| Refusal { reason: Reason::UnknownType, error: format!("{name}: {error}") })
}

fn parse<T: FromStr<Err: ToString>>(name: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error: T::Err| poisoned(format!("{name}: {}", error.to_string())))
}

fn number<T: FromStr>(record: &Record, name: &str) -> Result<T, Refusal> {
    required(record, name)?.parse().map_err(|_| poisoned(format!("{name} is not a number")))
}

fn instant(name: &str, text: &str) -> Result<OffsetDateTime, Refusal> {
    crate::event::instant(text).ok_or_else(|| poisoned(format!("{name} is not a time of RFC 3339")))
}

#[cfg(test)]
mod tests;
