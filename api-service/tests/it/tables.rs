//! The two tables of the contract, one case a line: the response to each caller, and the response to each invalid
//! input. Each response is compared with the document, too. Invalid tokens are in `bad_tokens`.

use shared::cache::Lookup;

use crate::prelude::*;

pub(crate) const GOOD: &str = r#"{"device_id":"mine","event_id":"e-1","payload":{}}"#;
const JSON: &str = "application/json";

/// The headers that a case requires; an empty value: the header must be absent.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Sends the request, and compares the response with the document and with the case.
async fn is_answered(what: &str, request: RequestBuilder, status: u16, code: &str, headers: Headers<'_>) -> Value {
    let response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let (found, told, body) = checked(response).await;
    assert_eq!(found, status, "{what}: {}", String::from_utf8_lossy(&body));
    for (name, value) in headers {
        let given = told.get(*name).map_or("", |value| value.to_str().unwrap());
        assert_eq!(given, *value, "{what}: {name}");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    assert_eq!(body["code"].as_str().unwrap_or_default(), code, "{what}");
    if !code.is_empty() {
        assert_eq!(
            (&body["status"], &body["request_id"]),
            (&status.into(), &told["x-request-id"].to_str().unwrap().into()),
            "{what}"
        );
        assert_eq!(told["content-type"], "application/problem+json", "{what}");
    }
    body
}

/// A call with or without a token.
pub(crate) fn call(app: &TestApp, line: &str, token: Option<&str>) -> RequestBuilder {
    let (method, path) = line.split_once(' ').unwrap();
    let request = app.request(method, path).header("x-request-id", "r");
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// Waits until readiness has this status.
async fn becomes(app: &TestApp, status: &str) {
    let is_it = async || {
        let told: Value = call(app, "GET /health/ready", None).send().await.unwrap().json().await.unwrap();
        if told["status"] == status { Ok(()) } else { Err(told) }
    };
    devstack::kit::found(status, is_it).await;
}

#[tokio::test]
async fn who_may_call_what() {
    let app = TestApp::start("tables_roles").await;
    app.submit(GOOD).await.error_for_status().unwrap();
    work(&app, 1).await;
    becomes(&app, "ready").await;
    let other = GOOD.replace("mine", "other");
    let (batch, others, both) = (format!("[{GOOD}]"), format!("[{other}]"), format!("[{GOOD},{other}]"));
    // An admin is not bound to devices, even with the role `device`.
    let admin = token(&["device", "admin"], &["another"]);
    let [device, user, guest] = [token(&["device"], &["mine"]), user(), token(&["guest"], &["mine"])];
    let table = [
        //                                   device admin user guest nobody
        ("POST /events", GOOD, [202, 202, 403, 403, 401]),
        ("POST /events", &other, [403, 202, 403, 403, 401]),
        ("POST /events/batch", &batch, [202, 202, 403, 403, 401]),
        ("POST /events/batch", &others, [403, 202, 403, 403, 401]),
        ("POST /events/batch", &both, [207, 202, 403, 403, 401]),
        ("GET /resource/mine", "", [200, 200, 200, 403, 401]),
        ("GET /resource/other", "", [403, 404, 404, 403, 401]),
        ("GET /resource/mine/events", "", [403, 200, 200, 403, 401]),
        ("GET /resources", "", [403, 200, 200, 403, 401]),
        ("POST /resources/query", r#"{"ids":["mine","other"]}"#, [200, 200, 200, 403, 401]),
        ("GET /health/live", "", [200; 5]),
        ("GET /health/ready", "", [200; 5]),
        ("GET /openapi.json", "", [200; 5]),
        ("GET /docs", "", [200; 5]),
    ];
    for (line, body, statuses) in table {
        let tokens = [Some(&*device), Some(&*admin), Some(&*user), Some(&*guest), None];
        for (token, status) in tokens.into_iter().zip(statuses) {
            let code = match status {
                401 => "invalid_token",
                403 if token == Some(&*device) && !["GET /resource/mine/events", "GET /resources"].contains(&line) => {
                    "device_not_allowed"
                }
                403 => "forbidden",
                404 => "resource_not_found",
                _ => "",
            };
            let request = call(&app, line, token).header("content-type", JSON).body(body.to_owned());
            let answer =
                is_answered(&format!("{line} {status}"), request, status, code, &[("x-request-id", "r")]).await;
            if status == 207 {
                let told = [&answer["items"][0]["status"], &answer["items"][1]["code"]];
                assert_eq!(told, [&json!(202), &json!("device_not_allowed")], "each item is bound");
            }
        }
    }
}

#[tokio::test]
async fn the_binding_may_be_left_to_the_claim() {
    let app = TestApp::with("tables_claimed", &["--jwt-device-binding=claimed"]).await;
    let post = |token: &str| app.submission(token, GOOD);
    let get = |token: &str| call(&app, "GET /resource/mine", Some(token));
    let (unbound, other) = (token(&["device"], &[]), token(&["device"], &["other"]));
    is_answered("an event without a claim", post(&unbound), 202, "", &[]).await;
    is_answered("a read without a claim", get(&unbound), 404, "resource_not_found", &[]).await;
    // If the claim is present, it applies.
    is_answered("an event of another", post(&other), 403, "device_not_allowed", &[]).await;
    is_answered("a read of another", get(&other), 403, "device_not_allowed", &[]).await;
}

#[tokio::test]
async fn what_each_call_answers() {
    let app = TestApp::start("tables_answers").await;
    let all = admin();
    let get = |line: &str| call(&app, line, Some(&all));
    let send = |line: &str, body: &str| get(line).header("content-type", JSON).body(body.to_owned());
    let tagged = |tags: &str| get("GET /resource/mine").header("if-none-match", tags);

    let body = is_answered("an event", send("POST /events", GOOD), 202, "", &[]).await;
    assert_eq!(body, json!({"request_id": "r", "status": "accepted", "event_id": "e-1"}));
    let two = r#"[{"device_id":"mine","event_id":"e-2","payload":{"n":2}},{"device_id":"mine","event_id":"e-3","payload":{"n":3}}]"#;
    let body = is_answered("a batch", send("POST /events/batch", two), 202, "", &[]).await;
    assert_eq!(body, json!({"request_id": "r", "status": "accepted", "accepted": 2}));
    let body = is_answered("a mixed batch", send("POST /events/batch", &format!("[{GOOD},7]")), 207, "", &[]).await;
    assert_eq!(
        (&body["status"], &body["accepted"], &body["items"][1]["status"]),
        (&"partial".into(), &1.into(), &422.into())
    );
    is_answered("an invalid batch", send("POST /events/batch", "[7,8]"), 422, "invalid_event", &[]).await;
    work(&app, 4).await;

    const KEPT: (&str, &str) = ("cache-control", "private, no-cache");
    let stored = queries::resource(&app.store(), &"mine".parse().unwrap()).await.unwrap().unwrap();
    let updated_at = serde_json::from_str::<Value>(&stored.body).unwrap()["updated_at"].as_str().unwrap().to_owned();
    let tag = format!("\"3-{updated_at}\"");
    let own = ("etag", &*tag);
    const STORED: (&str, &str) = ("cache-status", "resource-cache; fwd=miss; stored");
    const HIT: (&str, &str) = ("cache-status", "resource-cache; hit");
    becomes(&app, "ready").await;
    let cases: [(_, _, _, _, Headers<'_>); 11] = [
        ("the first read", get("GET /resource/mine"), 200, "", &[own, STORED, KEPT, ("content-type", JSON)]),
        ("the next read", get("GET /resource/mine"), 200, "", &[own, HIT, KEPT, ("content-type", JSON)]),
        ("its state", tagged(&tag), 304, "", &[own, HIT, KEPT, ("content-type", "")]),
        ("one of several", tagged(&format!("\"2\", W/{tag}")), 304, "", &[own, HIT, KEPT]),
        ("any state", tagged("*"), 304, "", &[own, HIT, KEPT]),
        ("another state", tagged("\"3\""), 200, "", &[own, HIT, KEPT]),
        ("no resource", get("GET /resource/none"), 404, "resource_not_found", &[STORED, ("cache-control", "no-store")]),
        ("still none", get("GET /resource/none"), 404, "resource_not_found", &[HIT, ("etag", "")]),
        ("no history", get("GET /resource/none/events"), 404, "resource_not_found", &[("cache-status", "")]),
        ("ready", get("GET /health/ready"), 200, "", &[("cache-control", "no-store")]),
        ("live", get("GET /health/live"), 200, "", &[("cache-control", "no-store")]),
    ];
    for (what, request, status, code, headers) in cases {
        is_answered(what, request, status, code, headers).await;
    }
    let resource = is_answered("the resource", get("GET /resource/mine"), 200, "", &[]).await;
    assert_eq!(
        (&resource["version"], &resource["id"], &resource["payload"]),
        (&3.into(), &"mine".into(), &json!({"n": 3}))
    );
    let page = is_answered("the history", get("GET /resource/mine/events?limit=2"), 200, "", &[KEPT]).await;
    assert_eq!((&page["items"][0]["event_id"], &page["items"][1]["event_id"]), (&"e-3".into(), &"e-2".into()));
    let rest = format!("GET /resource/mine/events?limit=2&before={}", page["next"].as_str().unwrap());
    let page = is_answered("the rest of it", get(&rest), 200, "", &[("link", "")]).await;
    assert_eq!((&page["items"][0]["event_id"], &page["next"]), (&"e-1".into(), &Value::Null));
}

/// A valid token with these changes to its claims, signed with the secret.
pub(crate) fn claims(changes: Value) -> String {
    signed(jsonwebtoken::Algorithm::HS256, SECRET, changes)
}

pub(crate) fn signed(algorithm: jsonwebtoken::Algorithm, secret: &str, changes: Value) -> String {
    let mut claims = json!({"sub": "a", "roles": ["admin"], "exp": 4_000_000_000_u64, "iss": "us", "aud": "api"});
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).unwrap()
}

#[tokio::test]
async fn bad_input() {
    const NONE: Headers<'_> = &[("www-authenticate", ""), ("retry-after", "")];
    const SCOPE: Headers<'_> = &[("www-authenticate", r#"Bearer error="insufficient_scope""#), ("retry-after", "")];

    let app = TestApp::with("tables_bad", &["--jwt-issuer=us", "--jwt-audience=api"]).await;
    let good = claims(json!({}));
    let by = |token: &str| app.submission(token, GOOD);
    let with = |changes: Value| by(&claims(changes));
    let bound = |devices: Value| with(json!({"roles": ["device"], "device_id": devices}));
    let body = |body: &str| app.submission(&good, body.to_owned());
    let typed =
        |media_type: &str| call(&app, "POST /events", Some(&good)).header("content-type", media_type).body(GOOD);
    let get = |line: &str| call(&app, line, Some(&good));
    let nobody = |line: &str| call(&app, line, None);
    let large = || format!(r#"{{"device_id":"mine","payload":{{"x":"{}"}}}}"#, "1".repeat(300 * 1024));
    let zeros = |n: usize| format!(r#"{{"device_id":"mine","payload":{{"n":0.{}}}}}"#, "0".repeat(n));
    let timed = |t: char| format!(r#"{{"device_id":"mine","occurred_at":"2026-01-02{t}03:04:05Z","payload":{{}}}}"#);
    let unbound = call(&app, "GET /resource/mine", Some(&claims(json!({"roles": ["device"]}))));
    let asked = |media_type: &str, body: &str| {
        let request = call(&app, "POST /resources/query", Some(&good));
        request.header("content-type", media_type).body(body.to_owned())
    };
    let asked_by = |token: &str| call(&app, "POST /resources/query", Some(token)).body("{");

    let table: Vec<(&str, RequestBuilder, u16, &str, Headers<'_>)> = vec![
        ("without the role", with(json!({"roles": ["user"]})), 403, "forbidden", SCOPE),
        ("without any role", with(json!({"roles": []})), 403, "forbidden", SCOPE),
        ("the role counts before the body", with(json!({"roles": []})).body("{"), 403, "forbidden", SCOPE),
        ("a device's without devices", with(json!({"roles": ["device"]})), 403, "forbidden", SCOPE),
        ("nor may that one read", unbound, 403, "forbidden", SCOPE),
        ("for another device", bound(json!("other")), 403, "device_not_allowed", SCOPE),
        ("for other devices", bound(json!(["a", "b"])), 403, "device_not_allowed", SCOPE),
        ("not JSON", body("{"), 400, "not_json", NONE),
        ("empty", body(""), 400, "not_json", NONE),
        ("a query that is none", get("GET /resource/a/events?limit=0"), 400, "bad_request", NONE),
        ("no content type", call(&app, "POST /events", Some(&good)).body(GOOD), 415, "unsupported_media_type", NONE),
        ("wrong content type", typed("text/plain"), 415, "unsupported_media_type", NONE),
        ("two content types", typed(JSON).header("content-type", "text/plain"), 415, "unsupported_media_type", NONE),
        ("nearly JSON", typed("application/jsonp"), 415, "unsupported_media_type", NONE),
        ("a batch for one", typed("application/x-ndjson"), 415, "unsupported_media_type", NONE),
        ("too large", body(&large()), 413, "body_too_large", NONE),
        ("JSON, but no event", body(r#"{"device_id":1}"#), 422, "invalid_event", NONE),
        ("a device that is not Unicode", body(r#"{"device_id":"\ud800","payload":{}}"#), 422, "invalid_event", NONE),
        ("a key that is not", body(r#"{"\ud800":1,"device_id":"a","payload":{}}"#), 422, "invalid_event", NONE),
        ("a number that jsonb has no room for", body(&zeros(16_400)), 422, "invalid_event", NONE),
        ("a number that is too long", body(&zeros(511)), 422, "invalid_event", NONE),
        ("a time with an underscore", body(&timed('_')), 422, "invalid_event", NONE),
        ("a time with another letter", body(&timed('X')), 422, "invalid_event", NONE),
        ("a device beyond ASCII", body(r#"{"device_id":"\u00fc","payload":{}}"#), 422, "invalid_event", NONE),
        ("a device that is a dot", body(r#"{"device_id":".","payload":{}}"#), 422, "invalid_event", NONE),
        (
            "a device with dots between slashes",
            body(r#"{"device_id":"a/../b","payload":{}}"#),
            422,
            "invalid_event",
            NONE,
        ),
        ("no such path", get("GET /nothing"), 404, "not_found", NONE),
        ("a path and more", get("GET /events/batch/"), 404, "not_found", NONE),
        ("no such method", nobody("GET /events"), 405, "method_not_allowed", &[("allow", "POST")]),
        ("nor this", nobody("DELETE /resource/a"), 405, "method_not_allowed", &[("allow", "GET,HEAD")]),
        ("a query by GET", nobody("GET /resources/query"), 405, "method_not_allowed", &[("allow", "POST")]),
        ("a list with a bad limit", get("GET /resources?limit=0"), 400, "bad_request", NONE),
        ("a query as a form", asked("text/plain", "ids=a"), 415, "unsupported_media_type", NONE),
        ("a query that is not JSON", asked(JSON, "ids=a"), 400, "not_json", NONE),
        ("JSON, but no query", asked(JSON, "[]"), 422, "invalid_query", NONE),
        ("too many ids", asked(JSON, &json!({"ids": vec!["a"; 501]}).to_string()), 413, "too_many_ids", NONE),
        ("too large a query", asked(JSON, &" ".repeat(128 * 1024 + 1)), 413, "body_too_large", NONE),
        ("a query without the role", asked_by(&claims(json!({"roles": []}))), 403, "forbidden", SCOPE),
        ("no such resource", get("GET /resource/none"), 404, "resource_not_found", NONE),
        ("no resource's id", get("GET /resource/a%20"), 404, "resource_not_found", NONE),
        ("beyond ASCII", get("GET /resource/%C3%BC"), 404, "resource_not_found", NONE),
        ("a segment of dots", get("GET /resource/a%2F..%2Fb"), 404, "resource_not_found", NONE),
        ("not even text", get("GET /resource/%ff"), 404, "resource_not_found", NONE),
    ];
    for (what, request, status, code, headers) in table {
        is_answered(what, request, status, code, headers).await;
    }
    is_answered("good after all", body(GOOD), 202, "", NONE).await;
    assert_eq!(records(&app, 2).await.len(), 1, "only the good one is in the topic");
}

#[tokio::test]
async fn a_large_body_is_not_read_for_a_bad_token_and_the_answer_arrives() {
    let app = TestApp::start("tables_early").await;
    let old = signed(jsonwebtoken::Algorithm::HS256, "another secret of thirty-two bytes", json!({}));
    for (token, status) in [(old, 401), (user(), 403)].iter().cycle().take(20) {
        let response = app.submission(token, vec![b' '; 900 * 1024]).send().await.unwrap();
        assert_eq!(response.status(), *status);
    }
}

#[tokio::test]
async fn with_kafka_away() {
    let brokers = nowhere("--kafka-brokers=127.0.0.1:PORT");
    let settings = [&*brokers, "--kafka-message-timeout=3s", "--request-timeout=6s", "--kafka-queue-bytes=2048"];
    let app = TestApp::with("tables_kafka", &settings).await;
    const AGAIN: Headers<'_> = &[("retry-after", "1")];
    let large = format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "y".repeat(4096));
    let post = |body: &str| app.submission(&admin(), body.to_owned());
    is_answered("no room in the queue", post(&large), 503, "queue_full", AGAIN).await;
    let start = Instant::now();
    let unknown = is_answered("not acknowledged in time", post(GOOD), 503, "outcome_unknown", AGAIN).await;
    assert!(unknown["event_id"] == "e-1" && start.elapsed() < Duration::from_secs(6), "{unknown}");
    let unnamed = post(r#"{"device_id":"d","payload":{}}"#);
    let unnamed = is_answered("nor this one", unnamed, 503, "outcome_unknown", AGAIN).await;
    assert!(unnamed["event_id"].as_str().is_some_and(|id| id.len() == 36), "a generated one is told too: {unnamed}");
    becomes(&app, "degraded").await;
    let ready = || call(&app, "GET /health/ready", None);
    is_answered("ready for reads", ready(), 200, "", &[("cache-control", "no-store")]).await;
    app.backbone.health.end();
    is_answered("about to end", ready(), 503, "", &[("cache-control", "no-store")]).await;
    is_answered("reads go on", call(&app, "GET /resource/d", Some(&user())), 404, "resource_not_found", &[]).await;
    app.producer.close();
    is_answered("shutting down", post(GOOD), 503, "shutting_down", AGAIN).await;
}

#[tokio::test]
async fn with_postgresql_away() {
    let app = TestApp::with("tables_postgres", &[&nowhere("--database-url=postgres://127.0.0.1:PORT/none")]).await;
    let hit: DeviceId = "hit".parse().unwrap();
    let lease = app.cache().lease(&hit.cache_key()).await.unwrap();
    let body = r#"{"version":7,"id":"hit","payload":{},"event_id":"e","accepted_at":"2026-01-02T03:04:05.000000Z","updated_at":"2026-01-02T03:04:05.000000Z"}"#;
    assert!(app.cache().fill(&hit.cache_key(), &lease, Some(body)).await);
    const AGAIN: Headers<'_> = &[("retry-after", "1")];
    let get = |line: &str| call(&app, line, Some(&user()));
    let told =
        is_answered("a hit", get("GET /resource/hit"), 200, "", &[("cache-status", "resource-cache; hit")]).await;
    assert_eq!(told, serde_json::from_str::<Value>(body).unwrap());
    is_answered("a miss", get("GET /resource/miss"), 503, "store_unavailable", AGAIN).await;
    let miss = "miss".parse::<DeviceId>().unwrap().cache_key();
    assert_eq!(app.cache().get(&miss).await, Lookup::Miss, "the lease was given back");
    is_answered("a history", get("GET /resource/hit/events"), 503, "store_unavailable", AGAIN).await;
    is_answered("an event", app.submission(&admin(), GOOD), 202, "", &[]).await;
}

#[tokio::test]
async fn with_redis_away() {
    let redis = nowhere("--redis-url=redis://127.0.0.1:PORT");
    let app = TestApp::with("tables_redis", &[&redis, "--redis-timeout=100ms"]).await;
    app.submit(GOOD).await.error_for_status().unwrap();
    work(&app, 1).await;
    const BYPASS: Headers<'_> = &[("cache-status", "resource-cache; fwd=bypass")];
    let get = |line: &str| call(&app, line, Some(&user()));
    for _ in 0..5 {
        is_answered("one that is there", get("GET /resource/mine"), 200, "", BYPASS).await;
        is_answered("one that is not", get("GET /resource/none"), 404, "resource_not_found", BYPASS).await;
    }
    is_answered("an event", app.submission(&admin(), GOOD), 202, "", &[]).await;
}

#[tokio::test]
async fn a_body_that_does_not_come() {
    let app = TestApp::with("tables_slow", &["--body-timeout=300ms"]).await;
    let mut raw = Raw::send(app.address, &post(&admin(), 100)).await;
    raw.write("{").await;
    let answer = tokio::time::timeout(Duration::from_secs(20), raw.read_to_end()).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    conforms("/events", 408, &headers, body.as_bytes());
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&"request_timeout".into(), &408.into()));
}
