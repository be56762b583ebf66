//! Batches: the records in the topic, and the result of each event.

use crate::prelude::*;

pub(crate) fn batch(app: &TestApp, token: &str, media_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = app.request("POST", "/events/batch").bearer_auth(token).header("content-type", media_type);
    request.header("x-request-id", "r").body(body)
}

async fn send(app: &TestApp, body: impl Into<reqwest::Body>) -> Response {
    batch(app, &admin(), "application/json", body).send().await.unwrap()
}

fn array(events: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", events.into_iter().collect::<Vec<_>>().join(","))
}

fn event(device: &str, n: usize) -> String {
    devstack::kit::event(device).id(format!("e-{n}")).payload(format!(r#"{{"n": {n}}}"#)).json()
}

#[tokio::test]
async fn a_whole_batch_is_in_the_topic_in_its_order() {
    let app = TestApp::start("batch").await;
    let response = send(&app, array((0..1000).map(|n| event(&format!("d{}", n % 7), n)))).await;
    assert_eq!(response.status(), 202);
    assert_eq!(response.text().await.unwrap(), r#"{"request_id":"r","status":"accepted","accepted":1000}"#);
    let records = records(&app, 1000).await;
    assert_eq!(records.len(), 1000);
    for device in 0..7 {
        let of_device = records.iter().filter(|record| record.key() == Some(format!("d{device}").as_bytes()));
        let mut of_device: Vec<_> = of_device.map(|r| (r.partition, r.offset, r.value().unwrap())).collect();
        of_device.sort_by_key(|(partition, offset, _)| (*partition, *offset));
        let found: Vec<_> = of_device.into_iter().map(|(_, _, value)| value).collect();
        let sent: Vec<_> = (0..1000).filter(|n| n % 7 == device).map(|n| format!("{{\"n\": {n}}}")).collect();
        assert!(found == sent, "d{device}: {found:?}");
    }
    let times: Vec<_> = records.iter().map(|record| record.header("ce_acceptedat").unwrap()).collect();
    let distinct: std::collections::HashSet<_> = times.iter().collect();
    assert_eq!(distinct.len(), 1000, "the history keeps the order too");
}

#[tokio::test]
async fn lines_are_events_too() {
    let app = TestApp::start("batch_lines").await;
    let body = format!("{}\r\n\n {} \n{}", event("d", 0), event("d", 1), event("d", 2));
    for media_type in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        let response = batch(&app, &admin(), media_type, body.clone()).send().await.unwrap();
        assert_eq!(response.status(), 202, "the same events again are taken again");
        assert_eq!(response.json::<Value>().await.unwrap()["accepted"], 3);
    }
    let values: Vec<_> = records(&app, 6).await.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(values, [0, 1, 2, 0, 1, 2].map(|n| format!("{{\"n\": {n}}}")));
}

#[tokio::test]
async fn a_byte_order_mark_is_ignored() {
    let app = TestApp::start("batch_marked").await;
    let marked = |text: &str| format!("\u{feff}{text}");
    assert_eq!(app.submit(marked(&event("d", 0))).await.status(), 202);
    let lines = format!("{}\n{}", event("d", 1), marked(&event("d", 2)));
    for (media_type, body) in [
        ("application/json", array([event("d", 1), event("d", 2)])),
        ("application/x-ndjson", lines.clone()),
        ("application/x-ndjson", format!("\r\n{lines}")),
    ] {
        let response = batch(&app, &admin(), media_type, marked(&body)).send().await.unwrap();
        assert_eq!(response.status(), 202, "{body}");
        assert_eq!(response.json::<Value>().await.unwrap()["accepted"], 2, "{body}");
    }
    let values: Vec<_> = records(&app, 7).await.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(values, [0, 1, 2, 1, 2, 1, 2].map(|n| format!("{{\"n\": {n}}}")));
    is_refused(app.submit(marked("")).await, 400, "not_json", None).await;
    is_refused(app.submit(marked(&marked("{}"))).await, 400, "not_json", None).await;
}

#[tokio::test]
async fn where_events_differ_each_is_told() {
    let app = TestApp::start("batch_differ").await;
    let mine = token(&["device"], &["mine"]);
    let body = array([
        event("mine", 0),
        event("other", 1),
        r#"{"device_id":"mine","event_id":"e-2","payload":{"x":"\u0000"},"odd/":1}"#.into(),
        "7".into(),
        event("mine", 4),
    ]);
    let response = batch(&app, &mine, "application/json", body).send().await.unwrap();
    assert_eq!(response.status(), 207);
    let told: Value = response.json().await.unwrap();
    let faults = json!([
        {"pointer": "/2/odd~1", "detail": "is not a field of an event"},
        {"pointer": "/2/payload/x", "detail": "contains \\u0000"},
    ]);
    let expected = json!({"request_id": "r", "status": "partial", "accepted": 2, "items": [
        {"index": 0, "status": 202, "event_id": "e-0"},
        {"index": 1, "status": 403, "event_id": "e-1", "code": "device_not_allowed"},
        {"index": 2, "status": 422, "code": "invalid_event", "errors": faults},
        {"index": 3, "status": 422, "code": "invalid_event",
            "errors": [{"pointer": "/3", "detail": "must be a JSON object"}]},
        {"index": 4, "status": 202, "event_id": "e-4"},
    ]});
    assert_eq!(told, expected);
    let values: Vec<_> = records(&app, 2).await.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(values, ["{\"n\": 0}", "{\"n\": 4}"]);
}

#[tokio::test]
async fn a_line_that_is_not_json_costs_no_other() {
    let app = TestApp::start("batch_line").await;
    let body = format!("\n{}\n{{\"device_id\n{}", event("d", 0), event("d", 1));
    let response = batch(&app, &admin(), "application/x-ndjson", body).send().await.unwrap();
    assert_eq!(response.status(), 207);
    let told: Value = response.json().await.unwrap();
    let why = "is not JSON: EOF while parsing a string at line 1 column 11 (line 3 of the body)";
    let expected = json!({"request_id": "r", "status": "partial", "accepted": 2, "items": [
        {"index": 0, "status": 202, "event_id": "e-0"},
        {"index": 1, "status": 400, "code": "not_json", "errors": [{"pointer": "/1", "detail": why}]},
        {"index": 2, "status": 202, "event_id": "e-1"},
    ]});
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_is_no_batch() {
    let app = TestApp::start("batch_bad").await;
    let (json, lines) = ("application/json", "application/x-ndjson");
    let twenty = array((0..20).map(|_| "{}".to_owned()));
    let large = array([format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "y".repeat(9 << 20))]);
    let other = array([event("other", 0), event("another", 1)]);
    let device = token(&["device"], &["mine"]);
    let table = [
        ("no array", admin(), json, "{}".into(), 422, "invalid_event"),
        ("not JSON", admin(), json, "[{}".into(), 400, "not_json"),
        ("nothing", admin(), json, String::new(), 400, "not_json"),
        ("no line is JSON", admin(), lines, "a\nb".into(), 400, "not_json"),
        ("an empty array", admin(), json, "[]".into(), 422, "invalid_event"),
        ("no lines", admin(), lines, "\n\n".into(), 422, "invalid_event"),
        ("no event", admin(), json, twenty, 422, "invalid_event"),
        ("no event, and a line that is not JSON", admin(), lines, "{}\nb".into(), 422, "invalid_event"),
        ("too many", admin(), json, array((0..1001).map(|n| event("d", n))), 413, "too_many_events"),
        ("too many lines", admin(), lines, "{}\n".repeat(1001), 413, "too_many_events"),
        ("too large", admin(), json, large, 413, "body_too_large"),
        ("none of its devices", device, json, other, 403, "device_not_allowed"),
        ("without the role", token(&["user"], &[]), json, "[]".into(), 403, "forbidden"),
        ("wrong content type", admin(), "text/plain", "[]".into(), 415, "unsupported_media_type"),
        ("one CloudEvent", admin(), "application/cloudevents+json", "{}".into(), 415, "unsupported_media_type"),
    ];
    for (what, token, media_type, body, status, code) in table {
        let response = batch(&app, &token, media_type, body).send().await.unwrap();
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(problem(response).await["code"], code, "{what}");
    }
    let binary = batch(&app, &admin(), json, "[]").header("ce-specversion", "1.0").send().await.unwrap();
    assert_eq!(problem(binary).await["code"], "bad_request");
    assert_eq!(send(&app, array([event("d", 0)])).await.status(), 202);
    assert_eq!(records(&app, 2).await.len(), 1, "only the good one is in the topic");
}

#[tokio::test]
async fn faults_begin_with_the_index_and_are_bounded() {
    let app = TestApp::start("batch_faults").await;
    let bad = r#"{"device_id":"d","payload":{"x":["\u0000"]}}"#;
    let few = problem(send(&app, format!("[{bad},[]]")).await).await;
    let expected = json!([
        {"pointer": "/0/payload/x/0", "detail": "contains \\u0000"},
        {"pointer": "/1", "detail": "must be a JSON object"},
    ]);
    assert_eq!(few["errors"], expected);
    let many = problem(send(&app, array((0..1000).map(|_| "{}".to_owned()))).await).await;
    assert_eq!(many["errors"].as_array().unwrap().len(), 101);
    assert_eq!(many["errors"][99]["pointer"], "/49/payload");
    assert_eq!(many["errors"][100], json!({"pointer": "", "detail": "has 1900 more faults"}));

    // 25 KB of keys above each of many faults; also if the response lists each event.
    let deep = |faults: usize| {
        let open = format!(r#"{{"{}":"#, "k".repeat(240)).repeat(50);
        format!(r#"{{"device_id":"d","payload":{open}[{}]{}}}"#, vec![r#""\u0000""#; faults].join(","), "}".repeat(50))
    };
    let body = array((0..200).map(|_| deep(30)));
    let refused = send(&app, body).await.text().await.unwrap();
    assert!(refused.len() < 24 * 1024, "{}", refused.len());
    let body = array([event("d", 0)].into_iter().chain((0..200).map(|_| deep(30))));
    let partial: Value = send(&app, body).await.json().await.unwrap();
    assert_eq!(partial["items"][200]["errors"], json!([{"pointer": "/200", "detail": "has 21 more faults"}]));
    assert!(partial.to_string().len() < 64 * 1024, "{}", partial.to_string().len());
}

#[tokio::test]
async fn a_repeat_is_accepted_again_and_counts_once() {
    let app = TestApp::start("batch_repeat").await;
    for _ in 0..2 {
        assert_eq!(app.submit(event("d", 0)).await.status(), 202);
        let response = send(&app, array([event("d", 0), event("d", 1), event("d", 1)])).await;
        assert_eq!(response.status(), 202);
        assert_eq!(response.json::<Value>().await.unwrap()["accepted"], 3);
    }
    let records = records(&app, 8).await;
    let decoded: Vec<_> = records.iter().map(|record| shared::devices::decode(record).unwrap()).collect();
    let applied = queries::apply_batch(&app.store(), &decoded.iter().collect::<Vec<_>>()).await.unwrap();
    let id: DeviceId = "d".parse().unwrap();
    let count = |outcome| applied.events.iter().filter(|event| event.outcome == outcome).count();
    assert_eq!((decoded.len(), count(queries::Outcome::Applied), count(queries::Outcome::Repeated)), (8, 2, 6));
    assert_eq!(applied.fences, [(id.cache_key(), 2)]);
}
