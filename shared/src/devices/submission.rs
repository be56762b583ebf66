//! Parses an event that a device submits, and finds every fault in it.

use bytes::Bytes;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{DeviceId, EventType};
use crate::kafka::cloud_events::{self, Submitted};
use crate::kafka::ids::{EventId, IdError};
use crate::runtime::json::{BodyError, Faults, Payload, at, each_member, json, text};
use crate::runtime::rfc3339;

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
    let Fields { device_id, event_id, occurred_at, payload, mut faults } = Fields::of(value)?;
    let device_id = match device_id {
        Some(raw) => id("/device_id", raw, &mut faults),
        None => missing("/device_id", &mut faults),
    };
    let event_id = event_id.filter(is_given).and_then(|raw| id("/event_id", raw, &mut faults));
    let occurred_at = occurred_at.filter(is_given).and_then(|raw| instant("/occurred_at", raw, &mut faults));
    let payload = match payload {
        Some(raw) => Some(Payload::check(body.slice_ref(raw.get().as_bytes()), "/payload")),
        None => missing("/payload", &mut faults),
    };
    match (device_id, payload) {
        (Some(device_id), Some(Ok(payload))) if faults.is_empty() => {
            Ok(Submission { device_id, event_type: EventType::DeviceReported, event_id, occurred_at, payload })
        }
        (_, payload) => {
            let in_payload = payload.and_then(Result::err).unwrap_or_default();
            Err(BodyError::NotAnEvent([faults.list(""), in_payload].concat()))
        }
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

impl From<Submitted<EventType, DeviceId>> for Submission {
    fn from(event: Submitted<EventType, DeviceId>) -> Self {
        let Submitted { event_type, subject, id, time, data } = event;
        Self { device_id: subject, event_type, event_id: Some(id), occurred_at: time, payload: data }
    }
}

fn is_given(raw: &&RawValue) -> bool {
    raw.get() != "null"
}

fn missing<T>(pointer: &str, faults: &mut Faults) -> Option<T> {
    faults.add(|| at(pointer), "is required");
    None
}

fn id<T: std::str::FromStr<Err = IdError>>(at: &str, raw: &RawValue, faults: &mut Faults) -> Option<T> {
    parsed(at, raw, faults, |text| text.parse().map_err(|error: IdError| error.to_string()))
}

fn instant(at: &str, raw: &RawValue, faults: &mut Faults) -> Option<OffsetDateTime> {
    parsed(at, raw, faults, |text| {
        rfc3339::parse(text).ok_or_else(|| "must be a date and time of RFC 3339, in the years 1 to 9999".into())
    })
}

fn parsed<T>(
    pointer: &str,
    raw: &RawValue,
    faults: &mut Faults,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let outcome = text(raw).map_err(str::to_owned).and_then(|text| parse(&text));
    outcome.map_err(|detail| faults.add(|| at(pointer), detail)).ok()
}

const UNKNOWN_FIELD: &str = "is not a field of an event";
const AD_EVENT: &str = "is not a field of an event; ad events go to /events/ or /ad-events";

/// The members of the body's object, unparsed, and the faults of their names.
#[derive(Default)]
struct Fields<'a> {
    device_id: Option<&'a RawValue>,
    event_id: Option<&'a RawValue>,
    occurred_at: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    faults: Faults,
}

impl<'a> Fields<'a> {
    fn of(value: &'a RawValue) -> Result<Self, BodyError> {
        let (mut fields, mut has_campaign) = (Self::default(), false);
        each_member(value, |name, value| {
            let name = match name {
                Ok(name) => name,
                Err(wrong) => return fields.faults.add(|| at(""), format!("has a key that {wrong}")),
            };
            let member = match name.as_ref() {
                "device_id" => &mut fields.device_id,
                "event_id" => &mut fields.event_id,
                "occurred_at" => &mut fields.occurred_at,
                "payload" => &mut fields.payload,
                "campaign_id" => {
                    has_campaign = true;
                    return;
                }
                _ => return fields.faults.add(|| at("").then(&name), UNKNOWN_FIELD),
            };
            if member.replace(value).is_some() {
                fields.faults.add(|| at("").then(&name), "is there more than once");
            }
        })?;
        if has_campaign {
            // The path decides what an event is, never its body. So this says which path it should have had.
            let detail = if fields.device_id.is_none() { AD_EVENT } else { UNKNOWN_FIELD };
            fields.faults.add(|| at("/campaign_id"), detail);
        }
        Ok(fields)
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
        let told = |body: &str| match read(body) {
            Err(BodyError::NotAnEvent(faults)) => faults.into_iter().map(|f| (f.pointer, f.detail)).collect::<Vec<_>>(),
            other => panic!("{body}: {other:?}"),
        };
        let fault = |pointer: &str, detail: &str| (pointer.to_owned(), detail.to_owned());
        let elsewhere = "is not a field of an event; ad events go to /events/ or /ad-events";
        let found = told(r#"{"campaign_id":1,"user_id":"u1","event_type":"impression"}"#);
        assert_eq!(
            found,
            [
                fault("/user_id", "is not a field of an event"),
                fault("/event_type", "is not a field of an event"),
                fault("/campaign_id", elsewhere),
                fault("/device_id", "is required"),
                fault("/payload", "is required"),
            ]
        );
        let found = told(r#"{"campaign_id":null,"campaign_id":2,"payload":{}}"#);
        assert_eq!(found, [fault("/campaign_id", elsewhere), fault("/device_id", "is required")]);
        // It is an event of a device, with a field too many.
        let found = told(r#"{"device_id":"d","payload":{},"campaign_id":1}"#);
        assert_eq!(found, [fault("/campaign_id", "is not a field of an event")]);
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
