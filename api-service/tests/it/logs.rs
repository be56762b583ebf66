//! What the binary writes: JSON lines, and never a payload, a token or a secret.

use serde_json::Value;

use crate::app::{SECRET, prepare, scope, token};
use crate::binary::Binary;

const MARK: &str = "planted-7f3a";

#[tokio::test]
async fn lines_are_json_and_hold_no_payload_token_or_secret() {
    let scope = scope("logs").await;
    prepare(&scope).await;
    let binary = Binary::with(&scope, &[("RUST_LOG", "debug"), ("ACCESS_LOG", "all")]);
    let (client, url) = (reqwest::Client::new(), format!("http://{}", binary.address));
    let post = |token: &str, body: String| {
        let request = client.post(format!("{url}/events")).bearer_auth(token);
        request.header("content-type", "application/json").header("x-request-id", "r-1").body(body).send()
    };
    let (good, bad) = (token(&["device"], &["d"]), token(&["device"], &["other"]));
    let body = format!(r#"{{"device_id":"d","event_id":"e-1","payload":{{"x":"{MARK}"}}}}"#);
    assert_eq!(post(&good, body.clone()).await.unwrap().status(), 202);
    assert_eq!(post(&bad, body.clone()).await.unwrap().status(), 403);
    assert_eq!(post(&good[1..], body.clone()).await.unwrap().status(), 401);
    assert_eq!(post(&good, body.replace("payload", MARK)).await.unwrap().status(), 422);
    client.get(format!("{url}/resource/d")).bearer_auth(&good).send().await.unwrap();
    drop(client);
    let (status, seen) = binary.terminate();
    assert_eq!(status, Some(0));

    let answered: Vec<Value> = seen
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .filter(|line: &Value| line["message"] == "answered" && line["route"] == "/events")
        .collect();
    let of = |status: u16| answered.iter().find(|line| line["status"] == status).unwrap();
    for (name, value) in [("request_id", "r-1"), ("event_id", "e-1"), ("device_id", "d"), ("level", "INFO")] {
        assert_eq!(of(202)[name], value);
    }
    assert_eq!((&of(403)["code"], &of(403)["level"]), (&"device_not_allowed".into(), &"INFO".into()));
    assert_eq!(of(401)["code"], "invalid_token");
    assert_eq!(answered.len(), 4, "one line a request: {answered:#?}");
    let all = seen.join("\n");
    for secret in [MARK, SECRET, good.rsplit('.').next().unwrap(), &scope.database_url] {
        assert!(!all.contains(secret), "{secret}");
    }
}
