//! The record of an event of the outbox, a CloudEvent in binary content mode; and the event of a record. Pure.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use shared::kafka::{Record, header};
use shared::store::outbox::MAX_AGGREGATE_BYTES;
use shared::store::outbox::relay::{Found, OutboxRow};

/// Attributes that columns of their own have.
const OF_COLUMNS: [&str; 5] = ["specversion", "type", "id", "partitionkey", "sequence"];
/// The greatest number that a record may have. A foreign one with a greater number would leave its aggregate too few.
const MAX_NUMBER: i64 = i64::MAX / 4;
/// Headers that are not attributes of CloudEvents.
const OF_TRACES: [&str; 2] = ["traceparent", "tracestate"];

/// The record of this event on this topic.
pub fn record<'a>(topic: &'a str, row: &'a OutboxRow) -> BaseRecord<'a, str, str> {
    // Of one length, so that it sorts as text.
    let sequence = format!("{:020}", row.sequence);
    let of_columns = [
        (header::SPEC_VERSION, "1.0"),
        (header::TYPE, &row.event_type),
        (header::ID, &row.event_id),
        (PARTITION_KEY, &row.aggregate),
        (header::SEQUENCE, &sequence),
        (header::CONTENT_TYPE, "application/json"),
    ];
    let mut headers = OwnedHeaders::new_with_capacity(of_columns.len() + row.attributes.len());
    for (key, value) in of_columns {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let mut key = String::new();
    for (name, value) in row.attributes.iter().filter(|(name, _)| !OF_COLUMNS.contains(&name.as_str())) {
        key.clear();
        if !OF_TRACES.contains(&name.as_str()) {
            key.push_str(header::ATTRIBUTE);
        }
        key.push_str(name);
        headers = headers.insert(Header { key: &key, value: Some(value) });
    }
    BaseRecord::to(topic).key(row.aggregate.as_str()).payload(row.data.as_str()).headers(headers)
}

/// The header of the aggregate, which is the record's key too.
const PARTITION_KEY: &str = "ce_partitionkey";

/// What identifies the row of a record, if it came from an outbox.
pub fn of_outbox(record: &Record) -> Option<Found> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned);
    // Only as PostgreSQL and the relay write it: other spellings are not of the outbox.
    let is_uuid = |id: &String| id.len() == uuid::fmt::Hyphenated::LENGTH && uuid::Uuid::try_parse(id).is_ok();
    let event_id = text(record.header(header::ID)?).filter(is_uuid)?;
    let sequence = text(record.header(header::SEQUENCE)?)?.parse::<i64>().ok();
    let sequence = sequence.filter(|number| (1..=MAX_NUMBER).contains(number))?;
    let aggregate = text(record.key()?).filter(|key| key.len() <= MAX_AGGREGATE_BYTES)?;
    Some(Found { event_id, aggregate, sequence })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::message::Headers as _;
    use shared::kafka::{Setting, StreamSpec};
    use time::OffsetDateTime;

    use super::*;

    fn row() -> OutboxRow {
        let attributes = [
            ("source", "/placements"),
            ("subject", "0190-a"),
            ("time", "2026-01-01T00:00:00Z"),
            ("acceptedat", "2026-01-01T00:00:00Z"),
            ("correlationid", "c"),
            ("causationid", "e"),
            ("dataschema", "/schemas/t.v1/1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            // Columns decide.
            ("sequence", "9"),
            ("partitionkey", "other"),
        ];
        OutboxRow {
            id: 7,
            event_id: "0190b6f0-0000-7000-8000-000000000001".to_owned(),
            aggregate: "v".to_owned(),
            sequence: 12,
            event_type: "t.v1".to_owned(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            data: r#"{"a":1}"#.to_owned(),
            written_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_record_is_a_cloud_event_that_the_worker_reads() {
        let row = row();
        let record = record("topic", &row);
        assert_eq!((record.key, record.payload), (Some("v"), Some(r#"{"a":1}"#)));
        let headers = record.headers.unwrap();
        let found: BTreeMap<_, _> = headers.iter().map(|it| (it.key.to_owned(), it.value.unwrap().to_vec())).collect();
        assert_eq!(found.len(), headers.count(), "no header twice");
        let text = |name: &str| found.get(name).map(|value| String::from_utf8(value.clone()).unwrap());
        for (name, value) in [
            ("ce_specversion", Some("1.0")),
            ("ce_type", Some("t.v1")),
            ("ce_id", Some("0190b6f0-0000-7000-8000-000000000001")),
            ("ce_partitionkey", Some("v")),
            ("ce_sequence", Some("00000000000000000012")),
            ("ce_correlationid", Some("c")),
            ("ce_causationid", Some("e")),
            ("ce_dataschema", Some("/schemas/t.v1/1")),
            ("content-type", Some("application/json")),
            ("ce_traceparent", None),
        ] {
            assert_eq!(text(name).as_deref(), value, "{name}");
        }
        assert!(text("traceparent").is_some());

        let headers: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect();
        let record = Record::new(Some(b"v"), Some(row.data.as_bytes()), &headers);
        let setting = Setting::new("", "", "", "");
        let spec = StreamSpec {
            name: "t",
            topic: setting,
            dead_letters: setting,
            types: &["t.v1"],
            extensions: &[],
            transactional: true,
        };
        let (envelope, _) = shared::kafka::decode(&record, &spec).unwrap();
        assert_eq!((envelope.event_type, envelope.key.as_str(), envelope.subject.as_str()), ("t.v1", "v", "0190-a"));
        assert_eq!((envelope.sequence, envelope.correlation_id.as_deref()), (Some(12), Some("c")));
        assert_eq!(&envelope.data[..], row.data.as_bytes());
    }

    const ID: &str = "0f1e2d3c-4b5a-4678-9abc-def012345678";

    fn found(key: &str, id: &str, sequence: &str) -> Option<Found> {
        let headers = [(header::ID, Some(id.as_bytes())), (header::SEQUENCE, Some(sequence.as_bytes()))];
        of_outbox(&Record::new(Some(key.as_bytes()), None, &headers))
    }

    #[test]
    fn only_what_an_outbox_may_have_written_is_found() {
        let longest = "k".repeat(MAX_AGGREGATE_BYTES);
        for (key, sequence) in [("campaign-7", 1), (&*longest, MAX_NUMBER)] {
            let expected = Found { event_id: ID.to_owned(), aggregate: key.to_owned(), sequence };
            assert_eq!(found(key, ID, &format!("{sequence:020}")), Some(expected));
        }
        // An index takes no key of 4 kB, and behind the greatest number there is none.
        for key in [format!("{longest}k"), "k".repeat(4_096), "a\0b".to_owned()] {
            assert_eq!(found(&key, ID, "1"), None, "{} bytes", key.len());
        }
        for sequence in [0, -1, MAX_NUMBER + 1, i64::MAX] {
            assert_eq!(found("a", ID, &sequence.to_string()), None, "{sequence}");
        }
        for (id, sequence) in [("7", "1"), (ID, ""), (ID, "one"), (ID, "9223372036854775808")] {
            assert_eq!(found("a", id, sequence), None, "{id} {sequence}");
        }
        let headers = [(header::ID, Some(ID.as_bytes())), (header::SEQUENCE, Some(&b"1"[..]))];
        assert_eq!(of_outbox(&Record::new(None, None, &headers)), None, "without a key");
    }
}
