//! Devices with the names that real ones have: with slashes, blanks, brackets and more.

use devstack::kit::event;
use redis::AsyncCommands as _;
use shared::kafka::ids::percent_encoded;

use crate::app::redis_at;
use crate::prelude::*;
use crate::read::source;

const NAMES: [&str; 11] = [
    "site-7/line 1",
    "user@host+1",
    "{a}#[1]%<x>",
    "}{",
    r#"a"b\c"#,
    "a?b&c=d;e,f",
    "/",
    "d/events",
    "...",
    "%2e%2e",
    "~'*($)!^`|",
];

async fn get(app: &TestApp, token: &str, path: &str) -> Response {
    app.request("GET", path).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn a_device_with_any_name_is_written_and_read() {
    let app = TestApp::start("names").await;
    let longest = "{".repeat(128);
    let names: Vec<&str> = NAMES.into_iter().chain([longest.as_str()]).collect();
    for &name in &names {
        for id in ["e-1", "e-2"] {
            let request = app.submission(&token(&["device"], &[name]), event(name).id(id).json());
            assert_eq!(request.send().await.unwrap().status(), 202, "{name}");
        }
    }
    work(&app, 2 * names.len()).await;
    let mut redis = redis_at(&app.scope.endpoints.redis_url).await;
    for name in names {
        let (own, other) = (token(&["device"], &[name]), token(&["device"], &["site-7", "d"]));
        let encoded = percent_encoded(name).to_string();
        let path = format!("/resource/{encoded}");
        for expected in ["resource-cache; fwd=miss; stored", "resource-cache; hit"] {
            let response = get(&app, &own, &path).await;
            assert_eq!(source(&response), expected, "{name}");
            let (status, _, body) = checked(response).await;
            let stored = queries::resource(&app.store(), &name.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!((status, &*body), (200, stored.body.as_bytes()), "{name}");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["id"], &body["version"]), (&name.into(), &2.into()));
        }
        let key = format!("{}resource:{encoded}", app.scope.cache_prefix);
        let is_there: bool = redis.exists(&key).await.unwrap();
        assert!(is_there, "{key}");
        is_refused(get(&app, &other, &path).await, 403, "device_not_allowed", None).await;

        let page = get(&app, &user(), &format!("{path}/events?limit=1")).await;
        let link = page.headers()["link"].to_str().unwrap().to_owned();
        assert_eq!(checked(page).await.0, 200, "{name}");
        let next = link.split(['<', '>']).nth(1).unwrap();
        let page: Value = get(&app, &user(), next).await.error_for_status().unwrap().json().await.unwrap();
        assert_eq!((&page["items"][0]["event_id"], &page["next"]), (&"e-1".into(), &Value::Null), "{next}");
    }
    // As people write them.
    for path in ["/resource/site-7%2Fline%201", "/resource/user@host+1", "/resource/user%40host%2B1"] {
        assert_eq!(get(&app, &user(), path).await.status(), 200, "{path}");
    }
    // The device `d/events` is not the history of the device `d`.
    is_refused(get(&app, &user(), "/resource/d/events").await, 404, "resource_not_found", None).await;
}

#[tokio::test]
async fn a_name_is_itself_in_the_record_and_encoded_in_its_source() {
    let app = TestApp::start("names_record").await;
    let plain = app.submission(&admin(), r#"{"device_id":"a/{b} c%","event_id":"e","payload":{}}"#);
    let ce = [
        ("ce-specversion", "1.0"),
        ("ce-type", "io.edge.device.reported.v1"),
        ("ce-source", "/any"),
        ("ce-id", "e"),
        ("ce-subject", "a/%7Bb}%20c%25"),
    ];
    let binary = ce.iter().fold(app.submission(&admin(), "{}"), |request, (name, value)| request.header(*name, *value));
    let structured = r#"{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/any","id":"e","subject":"a/{b} c%","data":{}}"#;
    let structured = app.request("POST", "/events").bearer_auth(admin()).body(structured);
    let structured = structured.header("content-type", "application/cloudevents+json");
    for request in [plain, binary, structured] {
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    let records = records(&app, 3).await;
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record.key(), Some(&b"a/{b} c%"[..]));
        assert_eq!(record.header("ce_subject"), Some(&b"a/{b} c%"[..]), "the Kafka binding does not encode it");
        assert_eq!(record.header("ce_source"), Some(&b"/devices/a%2F%7Bb%7D%20c%25"[..]));
    }
}

#[tokio::test]
async fn a_name_that_is_refused_is_told_why() {
    let app = TestApp::start("names_refused").await;
    let ascii = "may contain only printable ASCII characters: beyond ASCII, one name can be encoded in several ways";
    let dots = "must not have a segment . or .. between slashes: HTTP clients remove it from a path";
    let blank = "must not begin or end with a blank";
    for (name, encoded, why) in [
        ("K\u{fc}hlraum", "K%C3%BChlraum", ascii),
        ("a\tb", "a%09b", ascii),
        (" a", "%20a", blank),
        ("a ", "a%20", blank),
        ("a/../b", "a%2F..%2Fb", dots),
        ("a/.", "a%2F.", dots),
    ] {
        let refused = is_refused(app.submit(event(name).json()).await, 422, "invalid_event", None).await;
        assert_eq!(refused["errors"], json!([{"pointer": "/device_id", "detail": why}]), "{name:?}");
        let refused = get(&app, &user(), &format!("/resource/{encoded}")).await;
        let refused = is_refused(refused, 404, "resource_not_found", None).await;
        assert_eq!(refused["detail"], format!("the id in the path {why}"), "{name:?}");
    }
    for name in [".", ".."] {
        let refused = is_refused(app.submit(event(name).json()).await, 422, "invalid_event", None).await;
        assert_eq!(refused["errors"][0]["detail"], dots, "{name:?}");
    }
}

#[tokio::test]
async fn what_an_event_may_leave_out_may_be_null() {
    let app = TestApp::start("names_null").await;
    let response = app.submit(r#"{"device_id":"d","event_id":null,"occurred_at":null,"payload":{"x":null}}"#).await;
    let (status, _, body) = checked(response).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["event_id"].as_str().map(str::len)), (202, Some(36)), "{body}");
    let records = records(&app, 1).await;
    assert_eq!(records[0].header("ce_time"), records[0].header("ce_acceptedat"));
}

/// Accepted as JSON libraries print them, and read again as the same doubles.
#[tokio::test]
async fn every_double_comes_back() {
    let app = TestApp::start("names_doubles").await;
    let numbers = ["5e-324", "1e-310", "4.9406564584124654E-324", "2.2250738585072014e-308", "1.7976931348623157e+308"];
    let all: Vec<f64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let payload = format!(r#"{{"n":[{}],"text":"\u00e9"}}"#, numbers.join(","));
    assert_eq!(app.submit(event("d").payload(&payload).json()).await.status(), 202);
    assert_eq!(records(&app, 1).await[0].value().unwrap(), payload, "the bytes as they were sent");
    work(&app, 1).await;
    let body = app.get("d").await.text().await.unwrap();
    let read = body.split(['[', ']']).nth(1).unwrap();
    let read: Vec<f64> = read.split(", ").map(|number| number.parse().unwrap()).collect();
    assert_eq!(read, all, "{body}");
    // What was read is accepted, too.
    let again = body.split(r#""payload":"#).nth(1).unwrap().split(r#","event_id""#).next().unwrap();
    assert_eq!(app.submit(event("d").payload(again).json()).await.status(), 202, "{again}");
}
