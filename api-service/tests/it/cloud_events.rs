//! CloudEvents 1.0 over HTTP, in all three modes.

use crate::prelude::*;

const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";
const ATTRIBUTES: [(&str, &str); 7] = [
    ("ce-specversion", "1.0"),
    ("ce-type", "io.edge.device.reported.v1"),
    ("ce-source", "/devices/d"),
    ("ce-id", "e%2D1"),
    ("ce-subject", "\"d\""),
    ("ce-time", "2026-01-02T03:04:05%2B01:00"),
    ("ce-anextension", "let%20be"),
];

fn binary(app: &TestApp, change: (&'static str, &str), body: &str) -> RequestBuilder {
    let mut request = app.request("POST", "/events").bearer_auth(admin()).header("content-type", "application/json");
    for (name, value) in ATTRIBUTES.into_iter().filter(|(name, _)| *name != change.0).chain([change]) {
        request = request.header(name, value);
    }
    request.body(body.to_owned())
}

fn as_structured(app: &TestApp, body: String) -> RequestBuilder {
    app.request("POST", "/events").bearer_auth(admin()).header("content-type", STRUCTURED).body(body)
}

fn structured(id: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/s","id":"{id}","subject":"d",
            "time":"2026-01-02T03:04:05+01:00","extension":7,"data":{data}}}"#
    )
}

#[tokio::test]
async fn an_event_is_the_same_in_every_mode() {
    let app = TestApp::start("cloud_events").await;
    let plain = r#"{"device_id":"d","event_id":"e-1","occurred_at":"2026-01-02T03:04:05+01:00","payload":{ "a": 1.0}}"#;
    let data = "{ \"a\": 1.0}";
    let batched = "application/cloudevents-batch+json";
    let requests = [
        ("plain", app.submission(&admin(), plain)),
        ("binary", binary(&app, ("ce-other", ""), data)),
        ("structured", as_structured(&app, structured("e-1", data))),
        ("batched", batch(&app, &admin(), batched, format!("[{}]", structured("e-1", data)))),
    ];
    for (mode, request) in requests {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 202, "{mode}");
        let accepted: Value = response.json().await.unwrap();
        assert!(accepted["event_id"] == "e-1" || accepted["accepted"] == 1, "{mode}: {accepted}");
    }
    let records = records(&app, 4).await;
    assert_eq!(records.len(), 4);
    let own = [&b"ce_acceptedat"[..], b"ce_requestid", b"ce_correlationid"];
    let parts = |record: &shared::kafka::Record| {
        let headers = record.headers().filter(|(name, _)| !own.contains(name));
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.unwrap().to_vec())).collect();
        (record.key().unwrap().to_vec(), record.value().unwrap(), headers)
    };
    for record in &records {
        assert_eq!(parts(record), parts(&records[0]));
    }
    assert_eq!(records[0].value().unwrap(), data, "byte for byte");
}

#[tokio::test]
async fn what_real_senders_add_is_taken() {
    let app = TestApp::start("cloud_events_real").await;
    let of_type = |request: RequestBuilder, media_type: &str| {
        let mut request = request.build().unwrap();
        request.headers_mut().insert("content-type", media_type.parse().unwrap());
        request
    };
    let without_type = |request: RequestBuilder| {
        let mut request = request.build().unwrap();
        request.headers_mut().remove("content-type");
        request
    };
    let requests = [
        ("any type of JSON", of_type(binary(&app, ("ce-other", ""), "{}"), "application/geo+json")),
        ("with a parameter", of_type(binary(&app, ("ce-other", ""), "{}"), "Application/Vnd.X+JSON; charset=utf-8")),
        ("no type", without_type(binary(&app, ("ce-other", ""), "{}"))),
        ("no type but for the data", without_type(binary(&app, ("ce-datacontenttype", "application/json"), "{}"))),
        ("not percent-encoded", binary(&app, ("ce-note", "100%"), "{}").build().unwrap()),
        ("no attribute's name", binary(&app, ("ce-trace-id", "a"), "{}").build().unwrap()),
        ("a repeated extension", binary(&app, ("ce-note", "a"), "{}").header("ce-note", "b").build().unwrap()),
        ("the content type", binary(&app, ("ce-datacontenttype", "application/json"), "{}").build().unwrap()),
        (
            "with a charset",
            binary(&app, ("ce-datacontenttype", "application/json;charset=UTF-8"), "{}").build().unwrap(),
        ),
        ("a byte order mark", binary(&app, ("ce-other", ""), "\u{feff}{}").build().unwrap()),
        (
            "an object as an extension",
            as_structured(&app, structured("e-1", "{}").replace(":7,", ":{},")).build().unwrap(),
        ),
    ];
    let count = requests.len();
    for (what, request) in requests {
        let response = reqwest::Client::new().execute(request).await.unwrap();
        assert_eq!(response.status(), 202, "{what}");
    }
    let records = records(&app, count).await;
    assert_eq!(records.len(), count);
    assert!(
        records.iter().all(|record| record.value().unwrap() == "{}" && record.header("ce_id") == Some(&b"e-1"[..]))
    );

    for media_type in
        ["text/plain", "application/cloudevents-batch+json", "application/cloudevents+avro", "application/json+xml"]
    {
        let request = of_type(binary(&app, ("ce-other", ""), "{}"), media_type);
        let refused = reqwest::Client::new().execute(request).await.unwrap();
        let problem = is_refused(refused, 415, "unsupported_media_type", None).await;
        assert!(problem["detail"].as_str().unwrap().contains("application/geo+json"), "{problem}");
    }
    // A pack of SenML (RFC 8428) is JSON, and an array.
    let pack = r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#;
    let request = of_type(binary(&app, ("ce-other", ""), pack), "application/senml+json");
    let refused = reqwest::Client::new().execute(request).await.unwrap();
    let problem = is_refused(refused, 422, "invalid_event", None).await;
    assert_eq!(problem["errors"], json!([{"pointer": "/data", "detail": "must be a JSON object"}]));
    let plain = of_type(app.submission(&admin(), EVENT), "application/geo+json");
    let twice = binary(&app, ("ce-other", ""), "{}").header("content-type", "application/json").build().unwrap();
    for request in [plain, without_type(app.submission(&admin(), EVENT)), twice] {
        let refused = reqwest::Client::new().execute(request).await.unwrap();
        is_refused(refused, 415, "unsupported_media_type", None).await;
    }
}

#[tokio::test]
async fn a_foreign_type_is_told_which_is_taken() {
    let app = TestApp::start("cloud_events_type").await;
    let foreign = structured("e", "{}").replace("io.edge.device.reported.v1", "com.example.reading");
    let batched = "application/cloudevents-batch+json";
    for (pointer, request) in [
        ("/headers/ce-type", binary(&app, ("ce-type", "com.example.reading"), "{}")),
        ("/type", as_structured(&app, foreign.clone())),
        ("/0/type", batch(&app, &admin(), batched, format!("[{foreign}]"))),
    ] {
        let problem = is_refused(request.send().await.unwrap(), 422, "invalid_event", None).await;
        let detail = "unknown event type \"com.example.reading\"; accepted: io.edge.device.reported.v1";
        assert_eq!(problem["errors"], json!([{"pointer": pointer, "detail": detail}]));
    }
}

#[tokio::test]
async fn a_batch_may_be_empty() {
    let app = TestApp::with("cloud_events_empty", &["--rate-limit-events-per-second=1"]).await;
    let batched = "application/cloudevents-batch+json; charset=utf-8";
    for body in ["[]", "\u{feff} [ ]\n"] {
        let response = batch(&app, &admin(), batched, body).send().await.unwrap();
        assert!(response.headers().contains_key("ratelimit"), "it costs one");
        let (status, _, body) = checked(response).await;
        assert_eq!((status, &body[..]), (202, &br#"{"request_id":"r","status":"accepted","accepted":0}"#[..]));
    }
    is_refused(batch(&app, &admin(), batched, "").send().await.unwrap(), 400, "not_json", None).await;
}

#[tokio::test]
async fn what_is_wrong_has_its_pointer() {
    let app = TestApp::start("cloud_events_bad").await;
    let table = [
        (binary(&app, ("ce-specversion", "0.3"), "{}"), 422, "/headers/ce-specversion"),
        (binary(&app, ("ce-subject", "a%C3%BC"), "{}"), 422, "/headers/ce-subject"),
        (binary(&app, ("ce-id", "%C0%A0"), "{}"), 422, "/headers/ce-id"),
        (binary(&app, ("ce-datacontenttype", "text/json"), "{}"), 422, "/headers/ce-datacontenttype"),
        (binary(&app, ("ce-data_base64", "e30="), "{}"), 422, "/headers/ce-data_base64"),
        (binary(&app, ("ce-other", ""), "[]"), 422, "/data"),
        (binary(&app, ("ce-other", ""), r#"{"x":1e999}"#), 422, "/data/x"),
        (as_structured(&app, structured("a b", "{}")), 422, "/id"),
        (as_structured(&app, structured("e", "[]")), 422, "/data"),
        (as_structured(&app, structured("e", r#"{"x":1e999}"#)), 422, "/data/x"),
        (as_structured(&app, structured("e", "{}").replace("extension", "data_base64")), 422, "/data_base64"),
        (binary(&app, ("ce-other", ""), "{"), 400, ""),
        (as_structured(&app, "{".into()), 400, ""),
        (as_structured(&app, "{}".into()).header("ce-specversion", "1.0"), 422, "/specversion"),
    ];
    for (request, status, pointer) in table {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{pointer}");
        let problem = problem(response).await;
        assert_eq!(problem["errors"][0]["pointer"].as_str().unwrap_or_default(), pointer, "{problem}");
    }
    let batched = "application/cloudevents-batch+json";
    let body = format!("[{},{}]", structured("e", "[]"), structured("e", "{}").replace("1.0", "1.1"));
    let none = problem(batch(&app, &admin(), batched, body).send().await.unwrap()).await;
    let pointers: Vec<_> = none["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/0/data", "/1/specversion"]);

    let other = token(&["device"], &["other"]);
    let mut request = binary(&app, ("ce-other", ""), "{}").build().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {other}").parse().unwrap());
    let response = reqwest::Client::new().execute(request).await.unwrap();
    assert_eq!(problem(response).await["code"], "device_not_allowed");
}
