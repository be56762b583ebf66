//! Records that are events, and records that are not.

use super::*;
use crate::devices::{DeviceDelivery, DeviceStream, Event, EventType};
use crate::kafka::{Outgoing, Reason, Stream as _, headers};
use proptest::prelude::*;

fn event() -> Outgoing {
    let accepted_at = time::macros::datetime!(2026-01-02 03:04:06 UTC);
    let (id, data) = ("e-1".parse().unwrap(), Bytes::from_static(br#"{"a": 1}"#));
    let envelope = Envelope {
        occurred_at: time::macros::datetime!(2026-01-02 03:04:05.678 UTC),
        request_id: Some("r".into()),
        user_id: Some("u".into()),
        correlation_id: Some("c".into()),
        causation_id: Some("e-0".into()),
        ..Envelope::new(EventType::DeviceReported.as_str(), "device-1".into(), id, accepted_at, data)
    };
    Outgoing { envelope, source: "/devices/device-1".into() }
}

/// Decodes the device event of a record.
fn decode(record: &Record) -> Result<DeviceDelivery, Refusal> {
    let (envelope, position) = super::decode(record, &DeviceStream::SPEC)?;
    let event = Event::decode(&envelope)?;
    Ok(DeviceDelivery { envelope, position, event })
}

fn poisoned(why: &str) -> Refusal {
    Refusal::undecodable(why)
}

fn record(key: &str, value: &[u8], headers: &[(impl AsRef<str>, String)]) -> Record {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_ref(), Some(value.as_bytes()))).collect();
    let mut record = Record::new(Some(key.as_bytes()), Some(value), &headers);
    record.topic = "events-input".into();
    (record.partition, record.offset) = (3, 42);
    record.timestamp = time::macros::datetime!(2026-01-02 03:04:07 UTC);
    record
}

fn changed(name: &str, value: Option<&str>) -> Result<DeviceDelivery, Refusal> {
    let mut all = headers(&event());
    all.retain(|(n, _)| *n != name);
    all.extend(value.map(|v| (name.to_owned(), v.to_owned())));
    decode(&record("device-1", br#"{"a": 1}"#, &all))
}

#[test]
fn what_the_api_writes_comes_back() {
    let decoded = decode(&record("device-1", br#"{"a": 1}"#, &headers(&event()))).unwrap();
    assert_eq!(decoded.envelope, event().envelope);
    assert_eq!(decoded.position.offset, 42);
    assert_eq!(decoded.position.appended_at, time::macros::datetime!(2026-01-02 03:04:07 UTC));
    assert!(!decoded.position.redriven);
}

#[test]
fn attributes_that_may_be_absent() {
    assert_eq!(changed("ce_time", None).unwrap().envelope.occurred_at, event().envelope.accepted_at);
    assert_eq!(
        changed("ce_acceptedat", None).unwrap().envelope.accepted_at,
        time::macros::datetime!(2026-01-02 03:04:07 UTC),
        "without it the record's timestamp counts"
    );
    for name in ["ce_requestid", "ce_userid", "ce_correlationid", "ce_causationid", "ce_source", "content-type"] {
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
        ("ce_type", Some(""), "ce_type is empty"),
        ("ce_id", None, "ce_id is missing"),
        ("ce_id", Some("a b"), "ce_id: may contain only A-Z a-z 0-9 . _ : -"),
        ("ce_subject", None, "ce_subject is missing"),
        (
            "ce_subject",
            Some("."),
            "subject: must not have a segment . or .. between slashes: HTTP clients remove it from a path",
        ),
        ("ce_subject", Some("device-2"), "the key is not the subject"),
        ("ce_time", Some("now"), "ce_time is not a time of RFC 3339"),
        ("ce_time", Some("2026-01-02_03:04:05Z"), "ce_time is not a time of RFC 3339"),
        ("ce_time", Some("9999-12-31T23:59:59-01:00"), "ce_time is not a time of RFC 3339"),
        ("ce_acceptedat", Some(""), "ce_acceptedat is not a time of RFC 3339"),
        ("ce_userid", Some("a\0b"), "ce_userid contains a NUL"),
        ("ce_correlationid", Some("a\0b"), "ce_correlationid contains a NUL"),
        ("ce_causationid", Some("a\0b"), "ce_causationid contains a NUL"),
        ("content-type", Some("text/plain"), "content-type is not JSON"),
    ];
    for (name, value, why) in cases {
        assert_eq!(changed(name, value), Err(poisoned(why)), "{name}={value:?}");
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
        assert_eq!(decode(&record("device-1", value, &all)), Err(poisoned(why)));
    }
    assert_eq!(decode(&Record::new(None, None, &[])), Err(poisoned("ce_specversion is missing")));
}

#[test]
fn a_name_that_is_no_text_is_poison_whoever_it_is_for() {
    let all = headers(&event());
    let mut all: Vec<_> = all.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
    for (name, why) in [(&b"\xff"[..], "a header's name is not UTF-8"), (b"ce_id\0", "a header's name contains a NUL")]
    {
        all.push((name, Some(b"1")));
        let record = Record::from_bytes(Some(b"device-1"), Some(b"{}"), &all);
        assert_eq!(decode(&record), Err(poisoned(why)));
        all.pop();
    }
}

#[test]
fn a_type_that_is_not_known_is_no_poison() {
    let error = r#"ce_type: unknown event type "other"; accepted: io.edge.device.reported.v1"#;
    let unknown = Refusal { reason: Reason::UnknownType, error: error.into() };
    assert_eq!(changed("ce_type", Some("other")), Err(unknown.clone()));
    // The format of another type is not known, so it is not checked.
    let mut all = headers(&event());
    all.retain(|(name, _)| *name != "ce_type" && *name != "content-type");
    let other = [(header::TYPE, "other"), (header::CONTENT_TYPE, "application/protobuf")];
    all.extend(other.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(decode(&record("another key", b"\xff", &all)), Err(unknown));
    let content_type = [(header::CONTENT_TYPE, "application/cloudevents+json".to_owned())];
    let value = br#"{"specversion":"1.0","type":"other","data_base64":"AA=="}"#;
    let refusal = decode(&record("device-1", value, &content_type)).unwrap_err();
    let error = r#"type: unknown event type "other"; accepted: io.edge.device.reported.v1"#;
    assert_eq!((refusal.reason, refusal.error.as_str()), (Reason::UnknownType, error));
    // A later type may change everything except the attributes that identify it.
    assert_eq!(changed("ce_specversion", Some("2.0")).unwrap_err().reason, Reason::Undecodable);
}

#[test]
fn a_null_behind_a_value_takes_the_value_back() {
    let mut all = headers(&event());
    all.retain(|(name, _)| *name != header::TIME);
    let mut all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
    all.extend([(header::TIME, Some(&b"2026-01-02T03:04:05Z"[..])), (header::TIME, None)]);
    let decoded = decode(&Record::new(Some(b"device-1"), Some(b"{}"), &all)).unwrap();
    assert_eq!(decoded.envelope.occurred_at, event().envelope.accepted_at, "as if there were none");
    all.push((header::ID, None));
    let refused = decode(&Record::new(Some(b"device-1"), Some(b"{}"), &all)).unwrap_err();
    assert_eq!(refused.error, "ce_id is missing");
}

#[test]
fn a_structured_record_is_understood() {
    let value = br#"{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/x","id":"e-1",
        "subject":"device-1","time":"2026-01-02T03:04:05Z","data":{"a" : 1},"other":true}"#;
    let content_type = [(header::CONTENT_TYPE, "application/cloudevents+json; charset=UTF-8".to_owned())];
    let decoded = decode(&record("device-1", value, &content_type)).unwrap();
    assert_eq!(decoded.event.payload.as_str(), r#"{"a" : 1}"#);
    assert_eq!(decoded.envelope.occurred_at, time::macros::datetime!(2026-01-02 03:04:05 UTC));
    assert_eq!(decode(&record("device-2", value, &content_type)), Err(poisoned("the key is not the subject")));
    let broken = decode(&record("device-1", br#"{"specversion":"1.0"}"#, &content_type)).unwrap_err();
    assert_eq!(broken.error, "not a CloudEvent in JSON (Data error at column 21)");
    let whole = std::str::from_utf8(value).unwrap();
    let nul = whole.replace(r#""other":true"#, r#""userid":"u\u0000""#);
    let refused = decode(&record("device-1", nul.as_bytes(), &content_type)).unwrap_err();
    assert_eq!(refused.error, "userid contains a NUL");
}

const ADVERTS: StreamSpec = StreamSpec { extensions: &["grantid", "cost"], ..DeviceStream::SPEC };

#[test]
fn extensions_that_the_stream_declares_come_back() {
    let mut event = event();
    event.envelope.extensions = vec![("cost", "0.01".to_owned()), ("other", "x".to_owned())];
    let all = headers(&event);
    assert_eq!(
        all[all.len() - 2..],
        [("ce_cost", "0.01"), ("ce_other", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    let record = record("device-1", br#"{"a": 1}"#, &all);
    let (envelope, _) = super::decode(&record, &ADVERTS).unwrap();
    assert_eq!(envelope.extensions, [("cost", "0.01".to_owned())], "the other one is not declared");
    assert_eq!((envelope.extension("cost"), envelope.extension("grantid")), (Some("0.01"), None));
    assert_eq!(super::decode(&record, &DeviceStream::SPEC).unwrap().0.extensions, []);
}

#[test]
fn an_extension_may_be_absent_but_is_text_that_postgresql_stores() {
    let with = |value: Option<&[u8]>| {
        let all = headers(&event());
        let mut all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
        all.push(("ce_cost", value));
        let record = Record::new(Some(b"device-1"), Some(b"{}"), &all);
        super::decode(&record, &ADVERTS).map(|(envelope, _)| envelope.extension("cost").map(str::to_owned))
    };
    assert_eq!(with(None), Ok(None));
    assert_eq!(with(Some(b"")), Ok(Some(String::new())));
    assert_eq!(with(Some(b"a\0")), Err(poisoned("ce_cost contains a NUL")));
    assert_eq!(with(Some(b"\xff")), Err(poisoned("ce_cost is not UTF-8")));
}

#[test]
fn a_structured_record_has_extensions_as_members() {
    let content_type = [(header::CONTENT_TYPE, "application/cloudevents+json".to_owned())];
    let with = |members: &str| {
        let value = format!(
            r#"{{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/x","id":"e-1",
                "subject":"device-1","data":{{}},"other":[]{members}}}"#
        );
        let record = record("device-1", value.as_bytes(), &content_type);
        super::decode(&record, &ADVERTS).map(|(envelope, _)| envelope.extensions)
    };
    let found = |name, value: &str| Ok(vec![(name, value.to_owned())]);
    assert_eq!(with(""), Ok(Vec::new()));
    assert_eq!(with(r#","cost":null"#), Ok(Vec::new()));
    assert_eq!(with(r#","cost":"0.0\u0031""#), found("cost", "0.01"));
    assert_eq!(with(r#","cost":12"#), found("cost", "12"));
    assert_eq!(with(r#","grantid":true"#), found("grantid", "true"));
    let why = [
        (r#","cost":"a\u0000""#, "cost contains a NUL"),
        (r#","cost":"\ud800""#, "cost contains a lone surrogate"),
        (r#","cost":[1]"#, "cost is neither a string nor a number nor a boolean"),
        (r#","cost":1,"cost":1"#, "cost occurs more than once"),
    ];
    for (members, why) in why {
        assert_eq!(with(members), Err(poisoned(why)));
    }
}

/// The numbers of events, as records in both modes have them: the attribute's value as a header, and as a member.
#[test]
fn only_the_events_of_the_outbox_have_a_number() {
    const OUTBOX: StreamSpec = StreamSpec { transactional: true, ..DeviceStream::SPEC };
    let binary = |value: Option<&str>, stream| {
        let mut all = headers(&event());
        all.extend(value.map(|value| (header::SEQUENCE.to_owned(), value.to_owned())));
        super::decode(&record("device-1", b"{}", &all), stream).map(|(envelope, _)| envelope.sequence)
    };
    let structured = |member: &str, stream| {
        let value = format!(
            r#"{{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/x","id":"e-1",
                "subject":"device-1","data":{{}},"correlationid":"c","causationid":"e-0"{member}}}"#
        );
        let content_type = [(header::CONTENT_TYPE, "application/cloudevents+json".to_owned())];
        let (envelope, _) = super::decode(&record("device-1", value.as_bytes(), &content_type), stream)?;
        assert_eq!((envelope.correlation_id.as_deref(), envelope.causation_id.as_deref()), (Some("c"), Some("e-0")));
        Ok(envelope.sequence)
    };
    for (text, number) in [("00000000000000000007", 7), ("1", 1), ("09223372036854775807", i64::MAX)] {
        let member = format!(r#","sequence":"{text}""#);
        assert_eq!((binary(Some(text), &OUTBOX), structured(&member, &OUTBOX)), (Ok(Some(number)), Ok(Some(number))));
        let of_others = (binary(Some(text), &DeviceStream::SPEC), structured(&member, &DeviceStream::SPEC));
        assert_eq!(of_others, (Ok(None), Ok(None)));
    }
    assert_eq!((binary(None, &OUTBOX), structured("", &OUTBOX)), (Ok(None), Ok(None)));
    assert_eq!(structured(r#","sequence":null"#, &OUTBOX), Ok(None));
    for text in ["", "0", "-1", "+1", "1.0", "a", " 1", "09223372036854775808"] {
        let why = |name: &str| Err(poisoned(&format!("{name} is not a number from 1 to 9223372036854775807")));
        let member = format!(r#","sequence":"{text}""#);
        assert_eq!((binary(Some(text), &OUTBOX), structured(&member, &OUTBOX)), (why("ce_sequence"), why("sequence")));
        // Others number their events as they like.
        assert_eq!(
            (binary(Some(text), &DeviceStream::SPEC), structured(&member, &DeviceStream::SPEC)),
            (Ok(None), Ok(None))
        );
    }
    for (member, why) in
        [(r#","sequence":7"#, "must be a string"), (r#","sequence":"\ud800""#, "contains a lone surrogate")]
    {
        assert_eq!(structured(member, &OUTBOX), Err(poisoned(&format!("sequence {why}"))), "{member}");
        assert_eq!(structured(member, &DeviceStream::SPEC), Ok(None));
    }
}

/// A redriven record in partition 3 at offset 42, appended at 03:04:07.
fn redriven(topic: &str, partition: i32, offset: i64, timestamp: i64) -> Record {
    let mut all = headers(&event());
    all.extend([
        (header::ORIGIN_TOPIC.to_owned(), topic.to_owned()),
        (header::ORIGIN_PARTITION.to_owned(), partition.to_string()),
        (header::ORIGIN_OFFSET.to_owned(), offset.to_string()),
        (header::ORIGIN_TIMESTAMP.to_owned(), timestamp.to_string()),
    ]);
    record("device-1", b"{}", &all)
}

#[test]
fn a_redriven_record_counts_by_its_first_place() {
    let appended_at = time::macros::datetime!(1970-01-01 00:00:01 UTC);
    let expected =
        Position { topic: "old".into(), partition: 5, offset: 7, appended_at, redriven: true, create_time: false };
    assert_eq!(decode(&redriven("old", 5, 7, 1_000)).unwrap().position, expected);
    let ahead = redriven("old", 5, 7, 253_402_300_799_000);
    assert_eq!(decode(&ahead).unwrap().position.appended_at, ahead.timestamp, "a time that was still to come");
}

#[test]
fn a_first_place_that_cannot_be_is_poison_and_no_redriven_record() {
    let now = i64::try_from(redriven("t", 0, 0, 0).timestamp.unix_timestamp_nanos() / 1_000_000).unwrap();
    let beyond = "origin.offset is not before the record's own offset, in the same partition and minute";
    for (topic, partition, offset, timestamp, why) in [
        ("events-input", 3, i64::MAX, now, Some(beyond)),
        ("events-input", 3, 42, now - 60_000, Some(beyond)),
        ("events-input", 3, 43, now + 60_000, Some(beyond)),
        // The topic was recreated since then.
        ("events-input", 3, i64::MAX, now - 60_001, None),
        ("events-input", 3, 41, now, None),
        ("events-input", 4, i64::MAX, now, None),
        ("another", 3, i64::MAX, now, None),
        ("", 3, 1, 1, Some("origin.topic is not the name of a topic")),
        ("a topic", 3, 1, 1, Some("origin.topic is not the name of a topic")),
        ("t", -1, 1, 1, Some("origin.partition is less than 0")),
        ("t", 1, -1, 1, Some("origin.offset is less than 0")),
    ] {
        let record = redriven(topic, partition, offset, timestamp);
        assert_eq!(decode(&record).err(), why.map(poisoned), "{topic} {partition} {offset} {timestamp}");
        assert_eq!(record.is_redriven(), why.is_none());
    }
    for name in [header::ORIGIN_TOPIC, header::ORIGIN_PARTITION, header::ORIGIN_OFFSET, header::ORIGIN_TIMESTAMP] {
        for value in [None, Some("x\0"), Some("?")] {
            let whole = redriven("t", 0, 1, 1);
            let mut parts: Vec<_> = whole.headers().collect();
            parts.retain(|(found, _)| *found != name.as_bytes());
            parts.extend(value.map(|value| (name.as_bytes(), Some(value.as_bytes()))));
            let record = Record::from_bytes(whole.key(), whole.value().as_deref(), &parts);
            assert!(!record.is_redriven(), "{name}={value:?}");
            match decode(&record) {
                // Without a topic they are unrelated headers of the producer.
                Ok(_) => assert_eq!((name, value), (header::ORIGIN_TOPIC, None)),
                Err(refusal) if value.is_none() => assert_eq!(refusal, poisoned(&format!("{name} is missing"))),
                Err(_) => {}
            }
        }
    }
}

proptest! {
    /// Whatever origin headers a producer writes, a record appended later is newer.
    #[test]
    fn no_first_place_holds_up_what_comes_later(
        topic in "events-input|another",
        (partition, later_partition) in (0..5, 2..5),
        offset in prop_oneof![0..100_i64, any::<i64>()],
        ago in prop_oneof![-200_000..200_000_i64, any::<i64>()],
        (later, after) in (1..50_i64, 1..120_000_i64),
    ) {
        let mut first = redriven(&topic, partition, offset, 0);
        let now = i64::try_from(first.timestamp.unix_timestamp_nanos() / 1_000_000).unwrap();
        first = redriven(&topic, partition, offset, now.saturating_sub(ago));
        if let Ok(decoded) = decode(&first) {
            let mut next = record("device-1", b"{}", &headers(&event()));
            (next.partition, next.offset) = (later_partition, first.offset + later);
            next.timestamp = first.timestamp + std::time::Duration::from_millis(after.unsigned_abs());
            let next = decode(&next).unwrap();
            prop_assert!(next.position.is_newer_than(&decoded.position), "{:?}", decoded.position);
        }
    }
}
