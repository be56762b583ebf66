//! Decodes a record into the event that it contains. No I/O.

mod extensions;
mod origin;

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::client_headers::UNREAD;
use super::{Record, Refusal, StreamSpec, header, unknown_type};
use crate::kafka::ids::{EventId, Key};
use crate::kafka::position::Position;
use crate::runtime::json::{self, Payload};
use crate::runtime::redact::redact;
use crate::runtime::rfc3339;

/// The parts that the events of all domains have: the attributes of a CloudEvent, and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// CloudEvents `type`: one of the stream's types.
    pub event_type: &'static str,
    /// The record's key.
    pub key: Key,
    /// CloudEvents `subject`: what the event is about.
    pub subject: Key,
    /// CloudEvents `id`.
    pub id: EventId,
    /// When it happened, by the sender's clock; CloudEvents `time`.
    pub occurred_at: OffsetDateTime,
    /// When the API accepted it.
    pub accepted_at: OffsetDateTime,
    /// The HTTP request that brought it.
    pub request_id: Option<String>,
    /// The token's subject.
    pub user_id: Option<String>,
    /// What belongs together, through every hop; CloudEvents `correlationid`.
    pub correlation_id: Option<String>,
    /// The event that caused this one; CloudEvents `causationid`.
    pub causation_id: Option<String>,
    /// W3C Trace Context of the request.
    pub traceparent: Option<String>,
    /// The number of the event among those of its aggregate, from 1. Only the events of the outbox have one.
    pub sequence: Option<i64>,
    /// The extension attributes that the stream declares, and that the event has.
    pub extensions: Vec<(&'static str, String)>,
    /// CloudEvents `data`: one JSON value.
    pub data: Bytes,
}

/// An event of a domain, with its envelope and its position in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<E> {
    /// The attributes and the data.
    pub envelope: Envelope,
    /// The record's position; for a redriven record, its original position.
    pub position: Position,
    /// The event.
    pub event: E,
}

impl Envelope {
    /// An envelope with only the required attributes: the key is the subject, and it occurred when it was accepted.
    pub fn new(event_type: &'static str, subject: Key, id: EventId, accepted_at: OffsetDateTime, data: Bytes) -> Self {
        Self {
            event_type,
            key: subject.clone(),
            subject,
            id,
            occurred_at: accepted_at,
            accepted_at,
            request_id: None,
            user_id: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            sequence: None,
            extensions: Vec::new(),
            data,
        }
    }

    /// The value of an extension attribute that the stream declares.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    /// The type, parsed into the domain's type for it.
    pub fn type_as<T: FromStr<Err: Into<String>>>(&self) -> Result<T, Refusal> {
        self.event_type.parse().map_err(Refusal::unknown_type)
    }

    /// The subject, parsed into the domain's type for it.
    pub fn subject_as<T: FromStr<Err: ToString>>(&self) -> Result<T, Refusal> {
        parse("subject", self.subject.as_str())
    }

    /// The same, for a subject that must be the record's key, so that the events of a subject stay in order.
    pub fn keyed_subject_as<T: FromStr<Err: ToString>>(&self) -> Result<T, Refusal> {
        let subject = self.subject_as()?;
        if self.key != self.subject {
            return Err(Refusal::undecodable("the key is not the subject"));
        }
        Ok(subject)
    }

    /// The data; an error unless it is a JSON object that PostgreSQL can store.
    pub fn payload(&self) -> Result<Payload, Refusal> {
        Payload::check(self.data.clone(), "").map_err(|faults| {
            // The fault may quote keys of the payload.
            let first = faults.first().map_or_else(String::new, |fault| redact(&fault.detail).into_owned());
            Refusal::undecodable(format!("the payload {first}"))
        })
    }
}

/// Decodes a record of a stream, in binary or structured content mode. The error is the first fault, or that the stream
/// does not have its type.
pub fn decode(record: &Record, stream: &StreamSpec) -> Result<(Envelope, Position), Refusal> {
    if record.headers_are_unread() {
        return poison(format!("{UNREAD}; the dead letter does not have them"));
    }
    for (name, _) in record.headers() {
        utf8("a header's name", name)?;
    }
    let content_type = text(record, header::CONTENT_TYPE)?.unwrap_or_default().to_ascii_lowercase();
    let envelope = if content_type.starts_with("application/cloudevents+json") {
        structured(record, stream)?
    } else {
        binary(record, &content_type, stream)?
    };
    Ok((envelope, position(record)?))
}

fn binary(record: &Record, content_type: &str, stream: &StreamSpec) -> Result<Envelope, Refusal> {
    match required(record, header::SPEC_VERSION)? {
        "1.0" => {}
        _ => return poison("ce_specversion is not 1.0"),
    }
    // Check the type first: the format of other types is unknown here.
    let event_type = event_type(header::TYPE, required(record, header::TYPE)?, stream.types)?;
    if !content_type.is_empty() && !content_type.starts_with("application/json") {
        return poison("content-type is not JSON");
    }
    let id = parse(header::ID, required(record, header::ID)?)?;
    let subject = Key::from(required(record, header::SUBJECT)?);
    let accepted_at = accepted_at(record)?;
    let occurred_at = match text(record, header::TIME)? {
        Some(text) => instant(header::TIME, text)?,
        None => accepted_at,
    };
    let Some(value) = record.value() else { return poison("it has no value") };
    let json: &RawValue = serde_json::from_str(utf8("value", &value)?)
        .map_err(|error| Refusal::undecodable(format!("the value is not JSON (at column {})", error.column())))?;
    Ok(Envelope {
        event_type,
        key: key(record, &subject)?,
        subject,
        id,
        occurred_at,
        accepted_at,
        request_id: owned(record, header::REQUEST_ID)?,
        user_id: owned(record, header::USER_ID)?,
        correlation_id: owned(record, header::CORRELATION_ID)?,
        causation_id: owned(record, header::CAUSATION_ID)?,
        traceparent: owned(record, header::TRACEPARENT)?,
        sequence: sequence(header::SEQUENCE, stream, || text(record, header::SEQUENCE))?,
        extensions: extensions::of_headers(record, stream.extensions)?,
        data: value.slice_ref(json.get().as_bytes()),
    })
}

/// The record's key, usually the same as its subject.
fn key(record: &Record, subject: &Key) -> Result<Key, Refusal> {
    match record.key() {
        Some(key) if key == subject.as_str().as_bytes() => Ok(subject.clone()),
        Some(key) => Ok(Key::from(utf8("key", key)?)),
        None => poison("it has no key"),
    }
}

/// The attributes that identify a CloudEvent and its type.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// The JSON format of CloudEvents 1.0, as far as it is used here; other attributes are ignored.
#[derive(Deserialize)]
struct Structured<'a> {
    id: String,
    subject: String,
    time: Option<String>,
    requestid: Option<String>,
    userid: Option<String>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
    /// Streams of others may number their events in any way.
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn structured(record: &Record, stream: &StreamSpec) -> Result<Envelope, Refusal> {
    let Some(value) = record.value() else { return poison("it has no value") };
    let text = utf8("value", &value)?;
    // serde's message could quote a value, so only the kind of error and its column are reported.
    let not_one = |error: serde_json::Error| {
        Refusal::undecodable(format!(
            "not a CloudEvent in JSON ({:?} error at column {})",
            error.classify(),
            error.column()
        ))
    };
    // As in binary mode: check the type first.
    let kind: Kind<'_> = serde_json::from_str(text).map_err(not_one)?;
    if kind.specversion != "1.0" {
        return poison("specversion is not 1.0");
    }
    let event_type = event_type("type", &kind.r#type, stream.types)?;
    let event: Structured<'_> = serde_json::from_str(text).map_err(not_one)?;
    let accepted_at = accepted_at(record)?;
    without_nul("subject", &event.subject)?;
    let subject = Key::from(event.subject);
    Ok(Envelope {
        event_type,
        key: key(record, &subject)?,
        subject,
        id: parse("id", &event.id)?,
        occurred_at: event.time.map_or(Ok(accepted_at), |text| instant("time", &text))?,
        accepted_at,
        request_id: storable("requestid", event.requestid)?,
        user_id: storable("userid", event.userid)?,
        correlation_id: storable("correlationid", event.correlationid)?,
        causation_id: storable("causationid", event.causationid)?,
        traceparent: storable("traceparent", event.traceparent)?,
        sequence: sequence("sequence", stream, || member("sequence", event.sequence))?,
        extensions: extensions::of_members(text, stream.extensions)?,
        data: value.slice_ref(event.data.get().as_bytes()),
    })
}

/// The number of an event of the outbox. In other streams the attribute may be anything, and is ignored.
fn sequence<T: AsRef<str>>(
    name: &str,
    stream: &StreamSpec,
    found: impl FnOnce() -> Result<Option<T>, Refusal>,
) -> Result<Option<i64>, Refusal> {
    if !stream.transactional {
        return Ok(None);
    }
    let Some(text) = found()? else { return Ok(None) };
    let digits = Some(text.as_ref()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()).filter(|number| *number > 0) {
        Some(number) => Ok(Some(number)),
        None => poison(format!("{name} is not a number from 1 to {}", i64::MAX)),
    }
}

/// The text of a member.
fn member<'a>(name: &str, value: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let text = value.map(json::text).transpose();
    text.map_err(|wrong| Refusal::undecodable(format!("{name} {wrong}")))
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

impl Record {
    /// Whether it was redriven from the dead-letter topic: it names a plausible original position.
    pub fn is_redriven(&self) -> bool {
        matches!(origin::of(self), Ok(Some(_)))
    }
}

fn poison<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::undecodable(reason))
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::undecodable(format!("{name} is not UTF-8")))?;
    without_nul(name, text)?;
    Ok(text)
}

fn storable(name: &str, text: Option<String>) -> Result<Option<String>, Refusal> {
    text.as_deref().map_or(Ok(()), |text| without_nul(name, text))?;
    Ok(text)
}

/// PostgreSQL's `text` cannot store a NUL. A header or a JSON escape can contain one.
fn without_nul(name: &str, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') { Err(Refusal::undecodable(format!("{name} contains a NUL"))) } else { Ok(()) }
}

fn text<'a>(record: &'a Record, name: &str) -> Result<Option<&'a str>, Refusal> {
    record.header(name).map(|bytes| utf8(name, bytes)).transpose()
}

fn owned(record: &Record, name: &str) -> Result<Option<String>, Refusal> {
    Ok(text(record, name)?.map(str::to_owned))
}

fn required<'a>(record: &'a Record, name: &str) -> Result<&'a str, Refusal> {
    text(record, name)?.ok_or_else(|| Refusal::undecodable(format!("{name} is missing")))
}

/// An unknown type is not undecodable: a later version may know it.
fn event_type(name: &str, text: &str, types: &[&'static str]) -> Result<&'static str, Refusal> {
    if text.is_empty() {
        return poison(format!("{name} is empty"));
    }
    let known = types.iter().find(|known| **known == text).copied();
    known.ok_or_else(|| Refusal::unknown_type(format!("{name}: {}", unknown_type(text, types))))
}

fn parse<T: FromStr<Err: ToString>>(name: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error: T::Err| Refusal::undecodable(format!("{name}: {}", error.to_string())))
}

fn number<T: FromStr>(record: &Record, name: &str) -> Result<T, Refusal> {
    required(record, name)?.parse().map_err(|_| Refusal::undecodable(format!("{name} is not a number")))
}

fn instant(name: &str, text: &str) -> Result<OffsetDateTime, Refusal> {
    rfc3339::parse(text).ok_or_else(|| Refusal::undecodable(format!("{name} is not a time of RFC 3339")))
}

#[cfg(test)]
mod tests;
