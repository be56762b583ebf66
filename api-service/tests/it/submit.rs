//! A 202, and the record in the topic.

use std::str::from_utf8 as utf8;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::prelude::*;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// Unusual on purpose: the payload must be passed on byte for byte.
const PAYLOAD: &str = "{ \"b\":1.0,\n \"a\" : [1e2,\"\\u00e9\"] }";

fn text<'a>(record: &'a shared::kafka::Record, header: &str) -> &'a str {
    std::str::from_utf8(record.header(header).unwrap()).unwrap()
}

#[tokio::test]
async fn an_event_is_in_the_topic_as_it_was_sent() {
    let app = TestApp::start("submit").await;
    let body = format!(
        r#"{{"device_id":"device-123","event_id":"e-1","occurred_at":"2026-01-02T03:04:05.5+01:00","payload":{PAYLOAD}}}"#
    );
    let request = app.submission(&token(&["device"], &["device-123"]), body);
    let response = request.header("x-request-id", "req:1").header("traceparent", TRACEPARENT).send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["x-request-id"], "req:1");
    assert!(!response.headers().contains_key("ratelimit-policy"), "no rate is set");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), r#"{"request_id":"req:1","status":"accepted","event_id":"e-1"}"#);

    let records = records(&app, 1).await;
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.key(), Some(&b"device-123"[..]));
    assert_eq!(record.value().unwrap(), PAYLOAD);
    let mut headers: Vec<_> =
        record.headers().map(|(name, value)| (utf8(name).unwrap(), utf8(value.unwrap()).unwrap())).collect();
    headers.sort_unstable();
    let accepted = text(record, "ce_acceptedat");
    let age = OffsetDateTime::now_utc() - OffsetDateTime::parse(accepted, &Rfc3339).unwrap();
    assert!(age.whole_seconds().abs() < 60);
    assert_eq!(
        headers,
        [
            ("ce_acceptedat", accepted),
            ("ce_correlationid", "req:1"),
            ("ce_id", "e-1"),
            ("ce_requestid", "req:1"),
            ("ce_source", "/devices/device-123"),
            ("ce_specversion", "1.0"),
            ("ce_subject", "device-123"),
            ("ce_time", "2026-01-02T03:04:05.5+01:00"),
            ("ce_type", "io.edge.device.reported.v1"),
            ("ce_userid", "alice"),
            ("content-type", "application/json"),
            ("traceparent", TRACEPARENT),
        ]
    );
}

/// What belongs together has one id, also where each request has another.
#[tokio::test]
async fn events_carry_the_callers_correlation_id_on() {
    let app = TestApp::start("submit_correlation").await;
    let given = ["order:7", "not sane", ""];
    for (n, given) in given.iter().enumerate() {
        let request = app.submission(&token(&["admin"], &[]), r#"{"device_id":"d","payload":{}}"#);
        let request = request.header("x-request-id", format!("r-{n}")).header("x-correlation-id", *given);
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    let mut found: Vec<_> = records(&app, given.len()).await;
    found.sort_by_key(|record| text(record, "ce_requestid").to_owned());
    let found: Vec<_> = found.iter().map(|record| text(record, "ce_correlationid")).collect();
    assert_eq!(found, ["order:7", "r-1", "r-2"]);
}

#[tokio::test]
async fn what_the_device_leaves_out_is_filled_in() {
    let app = TestApp::start("submit_least").await;
    let request = app.request("POST", "/events").bearer_auth(token(&["admin"], &[]));
    let request =
        request.header("content-type", "Application/JSON; charset=utf-8").header("traceparent", "00-nonsense");
    let response = request.body(r#"{"device_id":"d","payload":{}}"#).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let accepted: Value = response.json().await.unwrap();
    for generated in ["event_id", "request_id"] {
        let id = uuid::Uuid::parse_str(accepted[generated].as_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 7);
    }
    let records = records(&app, 1).await;
    assert_eq!(text(&records[0], "ce_id"), accepted["event_id"].as_str().unwrap());
    assert_eq!(text(&records[0], "ce_time"), text(&records[0], "ce_acceptedat"));
    assert_eq!(records[0].header("traceparent"), None, "an invalid one is not passed on");
}

#[tokio::test]
async fn a_device_has_the_partition_that_java_would_choose() {
    let app = TestApp::start("submit_partition").await;
    // From the tests of Kafka's own `Utils.murmur2`.
    let vectors = [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)];
    for (device, _) in vectors {
        let response = app.submit(format!(r#"{{"device_id":"{device}","payload":{{}}}}"#)).await;
        assert_eq!(response.status(), 202);
    }
    let records = records(&app, vectors.len()).await;
    assert_eq!(records.len(), vectors.len());
    for record in records {
        let key = std::str::from_utf8(record.key().unwrap()).unwrap().to_owned();
        let (_, hash) = vectors.into_iter().find(|(device, _)| *device == key).unwrap();
        assert_eq!(record.partition, (hash & i32::MAX) % PARTITIONS, "{key}");
    }
}

#[tokio::test]
async fn the_largest_payload_is_taken() {
    let app = TestApp::start("submit_large").await;
    let payload = format!(r#"{{"x":"{}"}}"#, "y".repeat(256 * 1024 - 8));
    let response = app.submit(format!(r#"{{"device_id":"d","payload":{payload}}}"#)).await;
    assert_eq!(response.status(), 202);
    assert_eq!(records(&app, 1).await[0].value().unwrap(), payload);
}
