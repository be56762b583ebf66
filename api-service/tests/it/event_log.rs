//! Each event, accepted or refused, alone or in a batch, can be found in the log by its request, its device and its id.
//! No line has a payload, a token or a secret.

use devstack::token::hs256;
use reqwest::Client;

use crate::prelude::*;

const MARK: &str = devstack::logs::PLANTED;

/// The fields of an event's log line: request, status, code, device, event.
type Line = (String, u64, Option<String>, Option<String>, Option<String>);

fn line(request: &str, status: u64, code: &str, device: &str, event: &str) -> Line {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (request.to_owned(), status, some(code), some(device), some(event))
}

fn lines(seen: &[String], message: &str) -> Vec<Line> {
    let all = seen.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let all = all.filter(|line| line["message"] == message);
    all.map(|line| {
        let text = |name: &str| line[name].as_str().map(ToOwned::to_owned);
        let status = line["status"].as_u64().unwrap();
        (text("request_id").unwrap(), status, text("code"), text("device_id"), text("event_id"))
    })
    .collect()
}

async fn post_all(binary: &Binary) {
    let client = Client::new();
    let post = async |id: &str, path: &str, kind: &str, token: &str, body: String, headers: &[(&str, &str)]| {
        let request = client.post(binary.url(path)).bearer_auth(token);
        let request = request.header("content-type", kind).header("x-request-id", id).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    let bound = hs256(SECRET, "device", &["device"], &["mine"], Duration::from_secs(60)).unwrap();
    let (json, admin) = ("application/json", admin());
    let event = |device: &str, event: &str| json!({"device_id": device, "event_id": event, "payload": {"x": MARK}});
    let single = "/events";
    assert_eq!(post("one", single, json, &admin, event("d-1", "e-1").to_string(), &[]).await, 202);
    assert_eq!(post("nobody", single, json, &admin[1..], event("d-1", "e-1").to_string(), &[]).await, 401);
    let bad = json!({"device_id": "d-2", "event_id": "e-2", MARK: 7}).to_string();
    assert_eq!(post("bad", single, json, &admin, bad, &[]).await, 422);
    assert_eq!(post("other", single, json, &bound, event("d-3", "e-3").to_string(), &[]).await, 403);
    let binary_mode = [("ce-specversion", "1.0"), ("ce-subject", "d-4"), ("ce-id", "e-4")];
    assert_eq!(post("binary", single, json, &admin, "{}".into(), &binary_mode).await, 422, "it has no type");

    let many = "/events/batch";
    let whole = json!([event("d-5", "e-5"), event("d-5", "e-6"), event("d-7", "e-7")]);
    assert_eq!(post("whole", many, json, &admin, whole.to_string(), &[]).await, 202);
    let mixed = json!([
        event("mine", "e-8"),
        event("d-9", "e-9"),
        {"device_id": "d-10", "event_id": "e-10"},
        7,
        {"payload": {}},
        event("mine", "e-11"),
    ]);
    assert_eq!(post("mixed", many, json, &bound, mixed.to_string(), &[]).await, 207);
    let text = format!("{}\n{{\"device_id\":\n{}\n", event("d-12", "e-12"), json!({"device_id": "d-13"}));
    assert_eq!(post("lines", many, "application/x-ndjson", &admin, text, &[]).await, 207);
    let cloud = json!([{"specversion": "1.0", "id": "e-14", "subject": "d-14", "source": "/x", "type": "nonsense"}]);
    let kind = "application/cloudevents-batch+json";
    assert_eq!(post("cloud", many, kind, &admin, cloud.to_string(), &[]).await, 422);
}

fn refused_alone() -> Vec<Line> {
    vec![
        line("bad", 422, "invalid_event", "d-2", "e-2"),
        line("other", 403, "device_not_allowed", "d-3", "e-3"),
        line("binary", 422, "invalid_event", "d-4", "e-4"),
    ]
}

#[tokio::test]
async fn all_of_them_with_all() {
    let scope = prepared("event_log_all").await;
    let binary = Binary::with(&scope, &[("RUST_LOG", "debug"), ("ACCESS_LOG", "all")]);
    post_all(&binary).await;
    let (status, seen) = binary.terminate();
    assert_eq!(status, Some(0));
    for line in &seen {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
        for secret in [MARK, SECRET, &scope.database_url] {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
        assert_eq!(devstack::logs::told(line), None, "{line}");
    }
    let nobody = seen.iter().filter(|line| line.contains(r#""request_id":"nobody""#)).collect::<Vec<_>>();
    assert!(nobody.len() == 1 && nobody[0].contains(r#""code":"invalid_token""#), "{nobody:?}");
    let alone: Vec<_> = lines(&seen, "answered").into_iter().filter(|line| line.3.is_some()).collect();
    assert_eq!(alone, [vec![line("one", 202, "", "d-1", "e-1")], refused_alone()].concat());
    let expected = [
        line("whole", 202, "", "d-5", "e-5"),
        line("whole", 202, "", "d-5", "e-6"),
        line("whole", 202, "", "d-7", "e-7"),
        line("mixed", 202, "", "mine", "e-8"),
        line("mixed", 403, "device_not_allowed", "d-9", "e-9"),
        line("mixed", 422, "invalid_event", "d-10", "e-10"),
        line("mixed", 202, "", "mine", "e-11"),
        // One line for two events without ids.
        line("mixed", 422, "invalid_event", "", ""),
        line("lines", 202, "", "d-12", "e-12"),
        line("lines", 422, "invalid_event", "d-13", ""),
        line("lines", 400, "not_json", "", ""),
        line("cloud", 422, "invalid_event", "d-14", "e-14"),
    ];
    assert_eq!(lines(&seen, "answered in a batch"), expected);
    let nameless = seen.iter().find(|line| line.contains(r#""items":2"#)).unwrap_or_else(|| panic!("{seen:#?}"));
    assert!(nameless.contains(r#""request_id":"mixed""#), "{nameless}");
}

#[tokio::test]
async fn those_that_were_refused_without_it() {
    // Even at the most verbose level.
    let binary = Binary::with(&prepared("event_log_errors").await, &[("RUST_LOG", "api_service=trace")]);
    post_all(&binary).await;
    let (_, seen) = binary.terminate();
    let alone: Vec<_> = lines(&seen, "answered").into_iter().filter(|line| line.3.is_some()).collect();
    assert_eq!(alone, refused_alone());
    let refused = lines(&seen, "answered in a batch");
    assert!(refused.iter().all(|line| line.1 >= 400), "{refused:?}");
    assert_eq!(refused.len(), 6, "{refused:?}");
}
