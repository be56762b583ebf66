//! The table of bad input: what is wrong, and what the answer is.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::json;

use crate::app::{SECRET, TestApp, admin, problem, token};
use crate::http::Raw;
use crate::topic::records;

const GOOD: &str = r#"{"device_id":"mine","payload":{}}"#;
const CHALLENGE: (&str, &str) = ("www-authenticate", r#"Bearer error="invalid_token""#);

struct Row {
    what: &'static str,
    request: RequestBuilder,
    status: u16,
    code: &'static str,
    header: Option<(&'static str, &'static str)>,
}

fn row(
    what: &'static str,
    request: RequestBuilder,
    (status, code): (u16, &'static str),
    header: Option<(&'static str, &'static str)>,
) -> Row {
    Row { what, request, status, code, header }
}

fn hs256(secret: &str, claims: serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

fn claims(changes: serde_json::Value) -> String {
    let mut claims = json!({"sub": "a", "roles": ["admin"], "exp": 4_000_000_000_u64, "iss": "us", "aud": "api"});
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    hs256(SECRET, claims)
}

#[tokio::test]
async fn the_table() {
    let app = TestApp::with("bad_input", &["--jwt-issuer=us", "--jwt-audience=api"]).await;
    let good = claims(json!({}));
    let post = |token: &str| app.submission(token, GOOD);
    let body = |body: &'static str| app.submission(&good, body);
    let typed = |media_type: &'static str| {
        app.request("POST", "/events").bearer_auth(&good).header("content-type", media_type).body(GOOD)
    };
    let large = r#"{"device_id":"mine","payload":{"x":"#.to_owned() + &"1".repeat(300 * 1024) + "}}";
    let tampered = format!("{}x{}", &good[..good.len() - 2], &good[good.len() - 1..]);
    let device = |devices: serde_json::Value| claims(json!({"roles": ["device"], "device_id": devices}));
    let unauthorized = (401, "invalid_token");
    let (challenge, none) = (Some(CHALLENGE), None);

    let table = [
        row("no token", app.request("POST", "/events").body(GOOD), unauthorized, challenge),
        row("no token, GET", app.request("GET", "/resource/a"), unauthorized, challenge),
        row("not a bearer", app.request("POST", "/events").basic_auth("a", Some("b")), unauthorized, challenge),
        row("two tokens", post(&good).bearer_auth(&good), unauthorized, challenge),
        row("malformed", post("nonsense"), unauthorized, challenge),
        row("expired", post(&claims(json!({"exp": 1_000_000_000}))), unauthorized, challenge),
        row("not yet valid", post(&claims(json!({"nbf": 4_000_000_000_u64}))), unauthorized, challenge),
        row("wrong signature", post(&tampered), unauthorized, challenge),
        row("wrong issuer", post(&claims(json!({"iss": "them"}))), unauthorized, challenge),
        row("wrong audience", post(&claims(json!({"aud": ["them"]}))), unauthorized, challenge),
        row("the bad token counts before the bad body", post("x").body("{"), unauthorized, challenge),
        row("without the role", post(&claims(json!({"roles": ["user"]}))), (403, "forbidden"), none),
        row("without any role", post(&claims(json!({"roles": []}))), (403, "forbidden"), none),
        row("a device's without devices", post(&claims(json!({"roles": ["device"]}))), (403, "forbidden"), none),
        row("for another device", post(&device(json!("other"))), (403, "device_not_allowed"), none),
        row("for other devices", post(&device(json!(["a", "b"]))), (403, "device_not_allowed"), none),
        row("not JSON", body("{"), (400, "not_json"), none),
        row("empty", body(""), (400, "not_json"), none),
        row(
            "no content type",
            app.request("POST", "/events").bearer_auth(&good).body(GOOD),
            (415, "unsupported_media_type"),
            none,
        ),
        row("wrong content type", typed("text/plain"), (415, "unsupported_media_type"), none),
        row(
            "two content types",
            typed("application/json").header("content-type", "text/plain"),
            (415, "unsupported_media_type"),
            none,
        ),
        row("nearly JSON", typed("application/jsonp"), (415, "unsupported_media_type"), none),
        row(
            "packed as nobody can unpack it",
            body(GOOD).header("content-encoding", "br"),
            (415, "unsupported_encoding"),
            Some(("accept-encoding", "gzip, zstd")),
        ),
        row("too large", app.submission(&good, large), (413, "body_too_large"), none),
        row("JSON, but no event", body(r#"{"device_id":1}"#), (422, "invalid_event"), none),
        row("no such path", app.request("GET", "/nothing").bearer_auth(&good), (404, "not_found"), none),
        row("no such method", app.request("GET", "/events"), (405, "method_not_allowed"), Some(("allow", "POST"))),
        row("nor this", app.request("DELETE", "/resource/a"), (405, "method_not_allowed"), Some(("allow", "GET,HEAD"))),
        row(
            "no such resource",
            app.request("GET", "/resource/none").bearer_auth(&good),
            (404, "resource_not_found"),
            none,
        ),
        row(
            "no resource's id",
            app.request("GET", "/resource/a%20b").bearer_auth(&good),
            (404, "resource_not_found"),
            none,
        ),
        row("not even text", app.request("GET", "/resource/%ff").bearer_auth(&good), (404, "resource_not_found"), none),
    ];
    for Row { what, request, status, code, header } in table {
        let response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(response.status().as_u16(), status, "{what}");
        if let Some((name, value)) = header {
            assert_eq!(response.headers()[name], value, "{what}");
        }
        assert_eq!(problem(response).await["code"], code, "{what}");
    }
    app.submission(&good, GOOD).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(records(&app, 2).await.len(), 1, "only the good one is in the topic");
}

#[tokio::test]
async fn every_fault_has_its_pointer() {
    let app = TestApp::start("bad_input_faults").await;
    let request = app.submission(&admin(), r#"{"device_id":"a b","payload":{"x":"\u0000"},"oops":1}"#);
    let problem = problem(request.header("x-request-id", "r").send().await.unwrap()).await;
    insta::assert_json_snapshot!(problem, @r#"
    {
      "code": "invalid_event",
      "detail": "see errors for what is wrong with it",
      "errors": [
        {
          "detail": "is not a field of an event",
          "pointer": "/oops"
        },
        {
          "detail": "may contain only A-Z a-z 0-9 . _ : -",
          "pointer": "/device_id"
        },
        {
          "detail": "contains \\u0000",
          "pointer": "/payload/x"
        }
      ],
      "request_id": "r",
      "status": 422,
      "title": "The body is not an event",
      "type": "/problems/invalid_event"
    }
    "#);
}

#[tokio::test]
async fn a_large_body_is_not_read_for_a_bad_token_and_the_answer_arrives() {
    let app = TestApp::start("bad_input_early").await;
    let old =
        devstack::token::hs256("another secret of thirty-two bytes", "a", &["admin"], &[], Duration::from_secs(60));
    for _ in 0..10 {
        let response = app.submission(&old.as_ref().unwrap().clone(), vec![b' '; 900 * 1024]).send().await.unwrap();
        assert_eq!(response.status(), 401);
        let response = app.submission(&token(&["user"], &[]), vec![b' '; 900 * 1024]).send().await.unwrap();
        assert_eq!(response.status(), 403);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_without_saying_so() {
    let app = TestApp::start("bad_input_chunked").await;
    let mut raw = Raw::connect(app.address).await;
    let token = admin();
    raw.write(&format!(
        "POST /events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    ))
    .await;
    for _ in 0..5 {
        raw.write(&format!("10000\r\n{}\r\n", " ".repeat(0x10000))).await;
    }
    raw.write("0\r\n\r\n").await;
    let answer = raw.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(r#""code":"body_too_large""#), "{answer}");
}
