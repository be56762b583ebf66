//! Parses an event that a device submits, and finds every fault in it.

use std::str::FromStr;

use bytes::Bytes;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{DeviceId, EventType};
use crate::kafka::cloud_events::{self, Submitted};
use crate::kafka::ids::EventId;
use crate::runtime::json::members::{Members, instant, parsed};
use crate::runtime::json::{BodyError, Payload, json};

/// A parsed event of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The device that reports.
    pub device_id: DeviceId,
    /// The event's type.
    pub event_type: EventType,
    /// The device's own id for the event, if it gave one.
    pub event_id: Option<EventId>,
    /// When it happened, if the device said so.
    pub occurred_at: Option<OffsetDateTime>,
    /// The reported state.
    pub payload: Payload,
}

/// Parses one event; the payload shares the body's memory. The error lists every fault.
pub fn parse(body: &Bytes) -> Result<Submission, BodyError> {
    parse_value(body, json(body)?)
}

/// Parses one event that is a part of `body`, whose memory the payload shares. An optional member that is null counts as
/// absent.
pub fn parse_value(body: &Bytes, value: &RawValue) -> Result<Submission, BodyError> {
    let mut members = Members::of(value, "", &MEMBERS, |name| Some(other(name).to_owned()))?;
    let device_id = members.required("device_id", parsed);
    let event_id = members.optional("event_id", parsed);
    let occurred_at = members.optional("occurred_at", instant);
    let payload = members.required("payload", Ok);
    let payload = payload.map(|raw| Payload::check(body.slice_ref(raw.get().as_bytes()), "/payload"));
    match (device_id, payload) {
        (Some(device_id), Some(Ok(payload))) if members.are_sound() => {
            Ok(Submission { device_id, event_type: EventType::DeviceReported, event_id, occurred_at, payload })
        }
        (_, payload) => {
            let in_payload = payload.and_then(Result::err).unwrap_or_default();
            Err(BodyError::NotAnEvent([members.into_faults(), in_payload].concat()))
        }
    }
}

const MEMBERS: [&str; 4] = ["device_id", "event_id", "occurred_at", "payload"];

/// The fault of another member. The path decides what an event is, never its body; so this says which path an ad event
/// should have had.
fn other(name: &str) -> &'static str {
    match name {
        "campaign_id" => {
            "is not a field of an event; ad events go to /events/ or /ad-events, batches of them to /ad-events/batch"
        }
        _ => "is not a field of an event",
    }
}

/// The type of a CloudEvent that a device submits. The error says where an ad event goes.
pub struct SubmittedType(EventType);

impl FromStr for SubmittedType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_ad = text.starts_with("io.edge.ad.");
        let elsewhere =
            |error| format!("{error}; ad events go to /events/ or /ad-events, batches of them to /ad-events/batch");
        text.parse().map(Self).map_err(|error| if is_ad { elsewhere(error) } else { error })
    }
}

/// Parses a CloudEvent in the JSON format that is a part of `body`, whose memory the payload shares.
pub fn structured(body: &Bytes, value: &RawValue) -> Result<Submission, BodyError> {
    cloud_events::structured(body, value).map(Submission::from)
}

/// Parses a CloudEvent whose attributes are headers, here without `ce-`, and whose data is the body.
pub fn binary<'a>(
    content_type: &str,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    body: &Bytes,
) -> Result<Submission, BodyError> {
    cloud_events::binary(content_type, headers, body).map(Submission::from)
}

impl From<Submitted<SubmittedType, DeviceId>> for Submission {
    fn from(event: Submitted<SubmittedType, DeviceId>) -> Self {
        let Submitted { event_type: SubmittedType(event_type), subject, id, time, data } = event;
        Self { device_id: subject, event_type, event_id: Some(id), occurred_at: time, payload: data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::json::Fault;

    fn read(body: &str) -> Result<Submission, BodyError> {
        parse(&Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn the_type_of_an_ad_event_is_told_its_path() {
        let told = |text: &str| text.parse::<SubmittedType>().err().unwrap();
        assert_eq!(
            told("io.edge.ad.click.v1"),
            "unknown event type \"io.edge.ad.click.v1\"; accepted: io.edge.device.reported.v1; ad events go to \
             /events/ or /ad-events, batches of them to /ad-events/batch"
        );
        assert_eq!(told("other"), "unknown event type \"other\"; accepted: io.edge.device.reported.v1");
    }

    #[test]
    fn the_least_event() {
        let event = read(r#" {"device_id":"device-123","payload":{"status": "online"}} "#).unwrap();
        assert_eq!(event.device_id.as_str(), "device-123");
        assert_eq!(event.payload.as_str(), r#"{"status": "online"}"#, "byte for byte");
        assert_eq!((event.event_id, event.occurred_at), (None, None));
    }

    #[test]
    fn the_whole_event() {
        let event = read(
            r#"{"device_id":"a","event_id":"e\u002d1","occurred_at":"2026-01-02T03:04:05.678+01:00","payload":{}}"#,
        )
        .unwrap();
        assert_eq!(event.event_id.unwrap().as_str(), "e-1");
        assert_eq!(event.occurred_at.unwrap(), time::macros::datetime!(2026-01-02 02:04:05.678 UTC));
    }

    #[test]
    fn what_may_be_absent_may_be_null() {
        let event = read(r#"{"device_id":"a","event_id":null,"occurred_at": null ,"payload":{"x":null}}"#).unwrap();
        assert_eq!((event.event_id, event.occurred_at, event.payload.as_str()), (None, None, r#"{"x":null}"#));
    }

    #[test]
    fn names_that_real_devices_have() {
        for device in ["site-7/line 1", "user@host", "+49 30 123#4", "[a]{b}<c>", r#"a"b\c"#, "*?%20", "~"] {
            let event = read(&serde_json::json!({"device_id": device, "payload": {}}).to_string()).unwrap();
            assert_eq!(event.device_id.as_str(), device);
        }
    }

    #[test]
    fn what_is_not_json() {
        for body in ["", "{", "nonsense", r#"{"device_id":"a","payload":{}} x"#, "{'a':1}", "\u{feff}", "NaN"] {
            assert!(matches!(read(body), Err(BodyError::NotJson(_))), "{body}");
        }
        assert!(matches!(parse(&Bytes::from_static(b"{\"a\":\"\xff\"}")), Err(BodyError::NotJson(_))));
    }

    #[test]
    fn every_fault_with_its_pointer() {
        let cases: &[(&str, &[&str])] = &[
            ("[]", &[""]),
            ("null", &[""]),
            ("{}", &["/device_id", "/payload"]),
            (r#"{"device_id":"","payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":"a ","payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":"a/../b","payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":"K\u00fchlraum","payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":7,"payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":null,"payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":"a","payload":[]}"#, &["/payload"]),
            (r#"{"device_id":"a","payload":null}"#, &["/payload"]),
            (r#"{"device_id":"a","payload":{},"event_id":""}"#, &["/event_id"]),
            (r#"{"device_id":"a","payload":{},"event_id":null,"event_id":"e"}"#, &["/event_id"]),
            (r#"{"device_id":"a","payload":{},"nothing":null}"#, &["/nothing"]),
            (r#"{"device_id":"a","payload":{},"occurred_at":"yesterday"}"#, &["/occurred_at"]),
            (r#"{"device_id":"a","payload":{},"occurred_at":"2026-01-02_03:04:05Z"}"#, &["/occurred_at"]),
            (r#"{"device_id":"a","payload":{},"occurred_at":"2026-01-02X03:04:05Z"}"#, &["/occurred_at"]),
            (r#"{"device_id":"a","payload":{},"occurred_at":"9999-12-31T23:59:59-01:00"}"#, &["/occurred_at"]),
            (r#"{"device_id":"a","payload":{},"occured_at":"x","a/b":1}"#, &["/occured_at", "/a~1b"]),
            (r#"{"device_id":"a","device_id":"b","payload":{}}"#, &["/device_id"]),
            (r#"{"device_id":"","payload":{"x":"\u0000"},"z":1}"#, &["/z", "/device_id", "/payload/x"]),
            (r#"{"device_id":"\ud800","payload":{}}"#, &["/device_id"]),
        ];
        for (body, pointers) in cases {
            let Err(BodyError::NotAnEvent(faults)) = read(body) else { panic!("{body} was taken") };
            let found: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
            assert_eq!(found, *pointers, "{body}: {faults:?}");
        }
    }

    #[test]
    fn an_ad_event_is_told_where_it_belongs() {
        let body = r#"{"campaign_id":1,"user_id":"u1","event_type":"impression"}"#;
        let Err(BodyError::NotAnEvent(faults)) = read(body) else { panic!("it was taken") };
        let found: Vec<_> = faults.iter().map(|f| (f.pointer.as_str(), f.detail.as_str())).collect();
        let unknown = "is not a field of an event";
        let elsewhere =
            "is not a field of an event; ad events go to /events/ or /ad-events, batches of them to /ad-events/batch";
        let expected = [
            ("/campaign_id", elsewhere),
            ("/user_id", unknown),
            ("/event_type", unknown),
            ("/device_id", "is required"),
            ("/payload", "is required"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_unicode_is_json_all_the_same() {
        let cases = [
            (r#"{"\ud800":1,"device_id":"a","payload":{}}"#, "", "has a key that contains a lone surrogate"),
            (r#"{"device_id":"a\udc00","payload":{}}"#, "/device_id", "contains a lone surrogate"),
            (r#"{"device_id":"a","payload":"\ud800"}"#, "/payload", "must be a JSON object"),
            (r#"{"device_id":"a","payload":{},"x":"\ud800"}"#, "/x", "is not a field of an event"),
        ];
        for (body, pointer, detail) in cases {
            let fault = Fault { pointer: pointer.into(), detail: detail.into() };
            assert_eq!(read(body), Err(BodyError::NotAnEvent(vec![fault])), "{body}");
        }
        assert!(matches!(read(r#"{"\ud80":1,"device_id":"a","payload":{}}"#), Err(BodyError::NotJson(_))));
    }

    #[test]
    fn many_faults_are_few_words() {
        let unknown = format!(r#"{{{}}}"#, (0..10_000).map(|n| format!(r#""x{n}":1"#)).collect::<Vec<_>>().join(","));
        let repeated = format!(r#"{{{}}}"#, vec![r#""device_id":"a""#; 10_000].join(","));
        for (body, more) in [(unknown, 9_982), (repeated, 9_980)] {
            let Err(BodyError::NotAnEvent(faults)) = read(&body) else { panic!("it was taken") };
            assert_eq!(faults.len(), 21);
            assert_eq!(faults[20], Fault { pointer: String::new(), detail: format!("has {more} more faults") });
        }
        let long = format!(r#"{{"{}":1,"device_id":"a","payload":{{}}}}"#, "x".repeat(100_000));
        let detail = "has something deeper in it that is not a field of an event".to_owned();
        assert_eq!(read(&long), Err(BodyError::NotAnEvent(vec![Fault { pointer: String::new(), detail }])));
    }
}
