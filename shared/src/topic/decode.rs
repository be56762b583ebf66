//! From a record to the event in it. Pure.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::str::FromStr;
use time::OffsetDateTime;

use super::record::from_millis;
use super::{Record, header};
use crate::event::{Event, Payload};
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

/// Why a record is no event, and never will be. The text names no part of the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Poison(pub String);

/// Decodes a record in binary or structured content mode.
///
/// # Errors
/// [`Poison`], with the first reason found.
pub fn decode(record: &Record) -> Result<Decoded, Poison> {
    let content_type = text(record, header::CONTENT_TYPE)?.unwrap_or_default().to_ascii_lowercase();
    let event = if content_type.starts_with("application/cloudevents+json") {
        structured(record)?
    } else if content_type.is_empty() || content_type.starts_with("application/json") {
        binary(record)?
    } else {
        return poison("content-type is not JSON");
    };
    if record.key() != Some(event.device_id.as_str().as_bytes()) {
        return poison("the key is not the subject");
    }
    Ok(Decoded { event, position: position(record)? })
}

fn binary(record: &Record) -> Result<Event, Poison> {
    match required(record, header::SPEC_VERSION)? {
        "1.0" => {}
        _ => return poison("ce_specversion is not 1.0"),
    }
    let event_type = parse(header::TYPE, required(record, header::TYPE)?)?;
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

/// The JSON format of CloudEvents 1.0, as far as it is used here; further attributes are let be.
#[derive(Deserialize)]
struct Envelope<'a> {
    specversion: String,
    r#type: String,
    id: String,
    subject: String,
    time: Option<String>,
    requestid: Option<String>,
    userid: Option<String>,
    traceparent: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn structured(record: &Record) -> Result<Event, Poison> {
    let Some(value) = record.value() else { return poison("it has no value") };
    let text = utf8("value", &value)?;
    // serde's message could quote a value: its kind and place say enough.
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| {
        Poison(format!("not a CloudEvent in JSON ({:?} error at column {})", error.classify(), error.column()))
    })?;
    if envelope.specversion != "1.0" {
        return poison("specversion is not 1.0");
    }
    let accepted_at = accepted_at(record)?;
    Ok(Event {
        device_id: parse("subject", &envelope.subject)?,
        event_id: parse("id", &envelope.id)?,
        event_type: parse("type", &envelope.r#type)?,
        payload: payload(&value, Some(envelope.data))?,
        occurred_at: envelope.time.map_or(Ok(accepted_at), |text| instant("time", &text))?,
        accepted_at,
        request_id: storable("requestid", envelope.requestid)?,
        user_id: storable("userid", envelope.userid)?,
        traceparent: storable("traceparent", envelope.traceparent)?,
    })
}

/// Checks the payload: the whole value, or the part of it that is `data`.
fn payload(value: &Bytes, data: Option<&RawValue>) -> Result<Payload, Poison> {
    let json = match data {
        Some(raw) => value.slice_ref(raw.get().as_bytes()),
        None => {
            let raw: &RawValue = serde_json::from_str(utf8("value", value)?)
                .map_err(|error| Poison(format!("the value is not JSON (at column {})", error.column())))?;
            value.slice_ref(raw.get().as_bytes())
        }
    };
    Payload::check(json, "").map_err(|faults| {
        // It quotes keys.
        Poison(faults.first().map_or_else(String::new, |fault| format!("the payload {}", untold(&fault.detail))))
    })
}

fn accepted_at(record: &Record) -> Result<OffsetDateTime, Poison> {
    match text(record, header::ACCEPTED_AT)? {
        Some(text) => instant(header::ACCEPTED_AT, text),
        None => Ok(record.timestamp),
    }
}

fn position(record: &Record) -> Result<Position, Poison> {
    if !record.is_redriven() {
        return Ok(Position {
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            appended_at: record.timestamp,
            redriven: false,
        });
    }
    let timestamp = number(record, header::ORIGIN_TIMESTAMP)?;
    Ok(Position {
        topic: required(record, header::ORIGIN_TOPIC)?.to_owned(),
        partition: number(record, header::ORIGIN_PARTITION)?,
        offset: number(record, header::ORIGIN_OFFSET)?,
        appended_at: from_millis(timestamp),
        redriven: true,
    })
}

fn poison<T>(reason: &str) -> Result<T, Poison> {
    Err(Poison(reason.to_owned()))
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Poison> {
    let text = std::str::from_utf8(bytes).map_err(|_| Poison(format!("{name} is not UTF-8")))?;
    without_nul(name, text)?;
    Ok(text)
}

fn storable(name: &str, text: Option<String>) -> Result<Option<String>, Poison> {
    text.as_deref().map_or(Ok(()), |text| without_nul(name, text))?;
    Ok(text)
}

/// PostgreSQL's text cannot hold it; a header could bring it, and an escape in JSON.
fn without_nul(name: &str, text: &str) -> Result<(), Poison> {
    if text.contains('\0') { Err(Poison(format!("{name} contains a NUL"))) } else { Ok(()) }
}

fn text<'a>(record: &'a Record, name: &str) -> Result<Option<&'a str>, Poison> {
    record.header(name).map(|bytes| utf8(name, bytes)).transpose()
}

fn owned(record: &Record, name: &str) -> Result<Option<String>, Poison> {
    Ok(text(record, name)?.map(str::to_owned))
}

fn required<'a>(record: &'a Record, name: &str) -> Result<&'a str, Poison> {
    text(record, name)?.ok_or_else(|| Poison(format!("{name} is missing")))
}

fn parse<T: FromStr<Err: ToString>>(name: &str, text: &str) -> Result<T, Poison> {
    text.parse().map_err(|error: T::Err| Poison(format!("{name}: {}", error.to_string())))
}

fn number<T: FromStr>(record: &Record, name: &str) -> Result<T, Poison> {
    required(record, name)?.parse().map_err(|_| Poison(format!("{name} is not a number")))
}

fn instant(name: &str, text: &str) -> Result<OffsetDateTime, Poison> {
    crate::event::instant(text).ok_or_else(|| Poison(format!("{name} is not a time of RFC 3339")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::topic::headers;
    use proptest::prelude::*;

    fn event() -> Event {
        Event {
            device_id: "device-1".parse().unwrap(),
            event_id: "e-1".parse().unwrap(),
            event_type: EventType::DeviceReported,
            payload: Payload::check(Bytes::from_static(br#"{"a": 1}"#), "").unwrap(),
            occurred_at: time::macros::datetime!(2026-01-02 03:04:05.678 UTC),
            accepted_at: time::macros::datetime!(2026-01-02 03:04:06 UTC),
            request_id: Some("r".into()),
            user_id: Some("u".into()),
            traceparent: None,
        }
    }

    fn record(key: &str, value: &[u8], headers: &[(&str, String)]) -> Record {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let mut record = Record::new(Some(key.as_bytes()), Some(value), &headers);
        record.topic = "events-input".into();
        (record.partition, record.offset) = (3, 42);
        record.timestamp = time::macros::datetime!(2026-01-02 03:04:07 UTC);
        record
    }

    fn changed(name: &str, value: Option<&str>) -> Result<Decoded, Poison> {
        let mut all = headers(&event());
        all.retain(|(n, _)| *n != name);
        let name: &'static str = name.to_owned().leak();
        all.extend(value.map(|v| (name, v.to_owned())));
        decode(&record("device-1", br#"{"a": 1}"#, &all))
    }

    #[test]
    fn what_the_api_writes_comes_back() {
        let decoded = decode(&record("device-1", br#"{"a": 1}"#, &headers(&event()))).unwrap();
        assert_eq!(decoded.event, event());
        assert_eq!(decoded.position.offset, 42);
        assert_eq!(decoded.position.appended_at, time::macros::datetime!(2026-01-02 03:04:07 UTC));
        assert!(!decoded.position.redriven);
    }

    #[test]
    fn attributes_that_may_be_absent() {
        assert_eq!(changed("ce_time", None).unwrap().event.occurred_at, event().accepted_at);
        assert_eq!(
            changed("ce_acceptedat", None).unwrap().event.accepted_at,
            time::macros::datetime!(2026-01-02 03:04:07 UTC),
            "without it the record's timestamp counts"
        );
        for name in ["ce_requestid", "ce_userid", "ce_source", "content-type"] {
            assert!(changed(name, None).is_ok(), "{name}");
        }
        assert!(changed("content-type", Some("application/json; charset=utf-8")).is_ok());
    }

    #[test]
    fn poison_says_why() {
        let cases = [
            ("ce_specversion", None, "ce_specversion is missing"),
            ("ce_specversion", Some("0.3"), "ce_specversion is not 1.0"),
            ("ce_type", None, "ce_type is missing"),
            ("ce_type", Some("other"), "ce_type: unknown event type \"other\""),
            ("ce_id", None, "ce_id is missing"),
            ("ce_id", Some("a b"), "ce_id: may contain only A-Z a-z 0-9 . _ : -"),
            ("ce_subject", None, "ce_subject is missing"),
            ("ce_subject", Some("device-2"), "the key is not the subject"),
            ("ce_time", Some("now"), "ce_time is not a time of RFC 3339"),
            ("ce_time", Some("9999-12-31T23:59:59-01:00"), "ce_time is not a time of RFC 3339"),
            ("ce_acceptedat", Some(""), "ce_acceptedat is not a time of RFC 3339"),
            ("ce_userid", Some("a\0b"), "ce_userid contains a NUL"),
            ("content-type", Some("text/plain"), "content-type is not JSON"),
        ];
        for (name, value, why) in cases {
            assert_eq!(changed(name, value), Err(Poison(why.into())), "{name}={value:?}");
        }
        let all = headers(&event());
        let values: [(&[u8], &str); 5] = [
            (b"not json", "the value is not JSON (at column 2)"),
            (b"[]", "the payload must be a JSON object"),
            (b"{\"a\":\"\xff\"}", "value is not UTF-8"),
            (br#"{"a":"\u0000"}"#, "the payload contains \\u0000"),
            (br#"{"secret":1,"secret":1}"#, "the payload has the key … more than once"),
        ];
        for (value, why) in values {
            assert_eq!(decode(&record("device-1", value, &all)), Err(Poison(why.into())));
        }
        assert_eq!(decode(&Record::new(None, None, &[])), Err(Poison("ce_specversion is missing".into())));
    }

    #[test]
    fn a_structured_record_is_understood() {
        let value = br#"{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/x","id":"e-1",
            "subject":"device-1","time":"2026-01-02T03:04:05Z","data":{"a" : 1},"other":true}"#;
        let content_type = [(header::CONTENT_TYPE, "application/cloudevents+json; charset=UTF-8".to_owned())];
        let decoded = decode(&record("device-1", value, &content_type)).unwrap();
        assert_eq!(decoded.event.payload.as_str(), r#"{"a" : 1}"#);
        assert_eq!(decoded.event.occurred_at, time::macros::datetime!(2026-01-02 03:04:05 UTC));
        assert_eq!(decode(&record("device-2", value, &content_type)), Err(Poison("the key is not the subject".into())));
        let broken = decode(&record("device-1", br#"{"specversion":"1.0"}"#, &content_type)).unwrap_err();
        assert_eq!(broken.0, "not a CloudEvent in JSON (Data error at column 21)");
        let whole = std::str::from_utf8(value).unwrap();
        let nul = whole.replace(r#""other":true"#, r#""userid":"u\u0000""#);
        let refused = decode(&record("device-1", nul.as_bytes(), &content_type)).unwrap_err();
        assert_eq!(refused.0, "userid contains a NUL");
    }

    #[test]
    fn a_redriven_record_counts_by_its_first_place() {
        let mut all = headers(&event());
        all.extend([
            (header::ORIGIN_TOPIC, "old".to_owned()),
            (header::ORIGIN_PARTITION, "5".to_owned()),
            (header::ORIGIN_OFFSET, "7".to_owned()),
            (header::ORIGIN_TIMESTAMP, "1000".to_owned()),
        ]);
        let decoded = decode(&record("device-1", b"{}", &all)).unwrap();
        let appended_at = time::macros::datetime!(1970-01-01 00:00:01 UTC);
        let expected = Position { topic: "old".into(), partition: 5, offset: 7, appended_at, redriven: true };
        assert_eq!(decoded.position, expected);
        all.retain(|(name, _)| *name != header::ORIGIN_OFFSET);
        assert_eq!(decode(&record("device-1", b"{}", &all)), Err(Poison("origin.offset is missing".into())));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
            value in prop::option::of("[{}\\[\\]\":,a-z0-9\\\\]{0,24}"),
            values in prop::collection::vec(prop::option::of("(1\\.0|[ -~]{0,12}|\u{0})"), 11),
        ) {
            let names = ["ce_specversion", "ce_type", "ce_id", "ce_subject", "ce_time", "ce_acceptedat",
                "content-type", "origin.topic", "origin.partition", "origin.offset", "origin.timestamp"];
            let headers: Vec<_> = names.into_iter().zip(&values).map(|(n, v)| (n, v.as_deref().map(str::as_bytes))).collect();
            let _ = decode(&Record::new(key.as_deref(), value.as_deref().map(str::as_bytes), &headers));
        }
    }
}
