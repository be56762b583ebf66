//! A command with a body of JSON: what the backbone reads of it, and of `If-Match`.

use std::sync::Arc;

use api_service::auth::Caller;
use api_service::backbone::Backbone;
use api_service::backbone::json_body::{JsonCall, JsonRequest};
use api_service::http::IfMatch;
use api_service::http::layers::layered;
use api_service::http::rate::{self, Kind};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{patch, post};
use http_body_util::BodyExt as _;
use shared::runtime::config::AccessLog;
use tower::ServiceExt as _;

use crate::prelude::*;

#[derive(Clone)]
struct Given {
    backbone: Arc<Backbone>,
    anonymous: Option<Arc<Caller>>,
}

async fn create(State(given): State<Given>, request: Request) -> Result<Response, Response> {
    let call = JsonCall {
        types: &["application/json"],
        limit: 1_000,
        cost: (Kind::Reads, 1),
        anonymous: given.anonymous.as_ref(),
        services: None,
    };
    let read = given.backbone.read_json(request, call, |caller| caller.needs_any(&["admin"])).await?;
    let JsonRequest { caller, bytes, .. } = read;
    let headers = [(header::LOCATION, "/things/1"), (header::ETAG, "\"1\"")];
    let who = if caller.is_anonymous { "nobody" } else { &caller.subject };
    Ok((StatusCode::CREATED, headers, format!("{who} {}", bytes.len())).into_response())
}

async fn change(State(given): State<Given>, request: Request) -> Result<Response, Response> {
    let types = &["application/merge-patch+json", "application/json"];
    let call = JsonCall { types, limit: 1_000, cost: (Kind::Reads, 1), anonymous: None, services: None };
    let read = given.backbone.read_json(request, call, |_| Ok(())).await?;
    let matches = IfMatch::required(&read.parts.headers).and_then(|if_match| if_match.check(b"\"7\""));
    matches.map_err(|problem| problem.into_response())?;
    Ok(([(header::ETAG, "\"8\"")], "changed").into_response())
}

async fn pause(State(given): State<Given>, request: Request) -> Result<Response, Response> {
    let (parts, _) = request.into_parts();
    let deadline = given.backbone.cached.deadline();
    let called = given.backbone.reader_or(&parts, deadline, given.anonymous.as_ref(), |_| Ok(())).await;
    Ok(called.map_err(|problem| problem.into_response())?.subject.clone().into_response())
}

struct Served(Router);

impl Served {
    fn beside(app: &TestApp, anonymous: Option<&[&str]>) -> Self {
        let anonymous =
            anonymous.map(|roles| Arc::new(Caller::anonymous(roles.iter().map(|&role| role.to_owned()).collect())));
        let given = Given { backbone: Arc::clone(&app.backbone), anonymous };
        let routes = Router::new().route("/things", post(create)).route("/things/1", patch(change));
        let routes = routes.route("/things/1/pause", post(pause)).with_state(given);
        Self(layered(routes.layer(from_fn(rate::announce)), AccessLog::ALL))
    }

    async fn call(&self, call: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, HeaderMap, String) {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, body) = self.0.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The status and the code of a refusal.
    async fn refused(&self, call: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, String) {
        let (status, headers, body) = self.call(call, headers, body).await;
        assert_eq!(headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&body).unwrap();
        (status, problem["code"].as_str().unwrap().to_owned())
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_command_answers_with_its_own_status_and_headers() {
    let app = TestApp::start("commands").await;
    let served = Served::beside(&app, None);
    let (admin, user) = (format!("Bearer {}", admin()), format!("Bearer {}", user()));
    let (token, other) = (("authorization", admin.as_str()), ("authorization", user.as_str()));
    let (status, headers, body) = served.call("POST /things", &[token, JSON], "{}").await;
    assert_eq!((status, body.as_str()), (201, "alice 2"));
    assert_eq!((&headers["location"], &headers["etag"]), (&"/things/1".parse().unwrap(), &"\"1\"".parse().unwrap()));
    let packed = zstd::encode_all(&br#"{"name":"x"}"#[..], 3).unwrap();
    let zstd = ("content-encoding", "zstd");
    let charset = ("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(served.call("POST /things", &[token, charset, zstd], packed).await.2, "alice 12");

    let refused =
        async |headers: &[(&str, &str)], body: &str| served.refused("POST /things", headers, body.to_owned()).await;
    let expect = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused(&[JSON], "{}").await, expect(401, "invalid_token"));
    assert_eq!(refused(&[other, JSON], "{}").await, expect(403, "forbidden"));
    let patch = ("content-type", "application/merge-patch+json");
    for headers in [&[token][..], &[token, patch], &[token, JSON, JSON], &[token, ("content-type", "text/plain")]] {
        assert_eq!(refused(headers, "{}").await, expect(415, "unsupported_media_type"), "{headers:?}");
    }
    assert_eq!(refused(&[token, JSON, ("content-encoding", "br")], "{}").await, expect(415, "unsupported_encoding"));
    assert_eq!(refused(&[token, JSON], &" ".repeat(1_001)).await, expect(413, "body_too_large"));
    let bomb = zstd::encode_all(&[b' '; 1_001][..], 3).unwrap();
    assert_eq!(served.refused("POST /things", &[token, JSON, zstd], bomb).await, expect(413, "body_too_large"));
}

#[tokio::test]
async fn a_change_needs_the_state_that_it_changes() {
    let app = TestApp::start("commands_if_match").await;
    let served = Served::beside(&app, None);
    let bearer = format!("Bearer {}", admin());
    let (token, patch) = (("authorization", bearer.as_str()), ("content-type", "application/merge-patch+json"));
    for (media_type, given) in [(patch, "\"7\""), (JSON, "\"6\", \"7\""), (patch, "*")] {
        let (status, headers, _) =
            served.call("PATCH /things/1", &[token, media_type, ("if-match", given)], "{}").await;
        assert_eq!((status, headers["etag"].to_str().unwrap()), (200, "\"8\""), "{given}");
    }
    let none = served.refused("PATCH /things/1", &[token, patch], "{}").await;
    assert_eq!(none, (428, "precondition_required".to_owned()));
    for given in ["\"6\"", "W/\"7\"", "7"] {
        let stale = served.refused("PATCH /things/1", &[token, patch, ("if-match", given)], "{}").await;
        assert_eq!(stale, (412, "precondition_failed".to_owned()), "{given}");
    }
}

#[tokio::test]
async fn commands_may_come_without_a_token_and_share_one_rate() {
    let settings = ["--rate-limit-reads-per-second=1", "--rate-limit-read-burst=3"];
    let app = TestApp::with("commands_anonymous", &settings).await;
    let served = Served::beside(&app, Some(&["admin"]));
    let (status, headers, body) = served.call("POST /things", &[JSON], "{}").await;
    assert_eq!((status, body.as_str()), (201, "nobody 2"));
    assert_eq!(headers["ratelimit"], r#""reads";r=2;t=1"#);
    let (status, headers, _) = served.call("POST /things/1/pause", &[], "").await;
    assert_eq!((status, headers["ratelimit"].to_str().unwrap()), (200, r#""reads";r=1;t=2"#));
    // The body of a refused command is not read, but the command costs.
    assert_eq!(served.refused("POST /things", &[("content-type", "text/plain")], "{}").await.0, 415);
    assert_eq!(served.refused("POST /things", &[JSON], "{}").await, (429, "rate_limited".to_owned()));
    let bad = ("authorization", "Bearer abc");
    assert_eq!(served.refused("POST /things/1/pause", &[bad], "").await, (401, "invalid_token".to_owned()));
    assert_eq!(served.refused("PATCH /things/1", &[JSON], "{}").await, (401, "invalid_token".to_owned()));
}
