//! Drafts are judged, here or by the service that validates; and that service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_service::auth::internal::Internal;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use tokio::net::TcpListener;

use crate::placements_kit::{Editor, Told, new, of};
use crate::prelude::*;
use crate::slow_bodies::trickle;

const SECRET_OF_SERVICES: &str = "--internal-jwt-secret=planted-7f3a: of the services, 32 bytes";
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

/// An editor beside another one, whose drafts are judged by the service at this address.
async fn asking(edith: &Editor, address: &str, more: &[&str]) -> Editor {
    let url = format!("--validation-url={address}");
    let settings = [&[url.as_str(), SECRET_OF_SERVICES][..], more].concat();
    Editor::of(TestApp::prepared(edith.app.scope.clone(), &settings).await).await
}

/// The service alone, but for events: every test server has a producer.
async fn service(edith: &Editor) -> TestApp {
    let settings = ["--api-domains=devices,validation", SECRET_OF_SERVICES];
    TestApp::prepared(edith.app.scope.clone(), &settings).await
}

/// A server in the place of the service; counts its calls.
async fn stub<R, F>(
    answer: impl Fn(usize, HeaderMap) -> F + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>)
where
    R: IntoResponse,
    F: Future<Output = R> + Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = move |headers: HeaderMap| {
        let answering = answer(counted.fetch_add(1, Ordering::Relaxed) + 1, headers);
        async move { answering.await.into_response() }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/validation/validate", post(handler));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, calls)
}

fn codes(report: &Value) -> Vec<&str> {
    let mut codes: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    codes
}

#[tokio::test]
async fn a_draft_is_judged_and_nothing_is_written() {
    let edith = Editor::start("check_here").await;
    let video = edith.video().await;
    let first = edith.placement(&video, 0, 1_000).await.text("id");
    let rows = async || {
        edith.number("SELECT (SELECT count(*) FROM placements) + (SELECT count(*) FROM outbox) + (SELECT sum(last) FROM sequences)::bigint").await
    };
    let before = rows().await;
    let report = edith.post("/placements/check", &new(&video, 500, 61_000)).await.expect(200);
    assert_eq!(
        (codes(&report), &report["revision"]),
        (vec!["dense", "out_of_bounds", "overlap", "product_missing"], &json!(2))
    );
    let overlap = report["findings"].as_array().unwrap().iter().find(|it| it["code"] == "overlap").unwrap();
    assert_eq!((&overlap["placementIds"], &overlap["severity"]), (&json!([null, first]), &json!("error")));

    edith.sql("INSERT INTO products (id, name, active) VALUES ('mug', 'a mug', true)").await;
    let good = edith.post("/placements/check", &new(&video, 2_000, 3_000)).await;
    assert_eq!(good.expect(200), json!({"findings": [], "revision": 2}));
    // Whatever the key: it is judged anew each time.
    let keyed = [("idempotency-key", "k")];
    edith.send("POST /placements/check", &keyed, &new(&video, 2_000, 3_000)).await.expect(200);
    edith.send("POST /placements/check", &keyed, &new(&video, 500, 900)).await.expect(200);
    assert_eq!(rows().await, before);
}

#[tokio::test]
async fn a_draft_is_refused_as_a_placement_is() {
    let edith = Editor::start("check_refused").await;
    let none = new("01890a5d-ac96-774b-bcce-b302099a8057", 0, 1);
    edith.post("/placements/check", &none).await.refused(404, "video_not_found");
    let faulty = edith.post("/placements/check", &json!({"videoId": "x", "startMs": 9, "endMs": 1, "more": 1})).await;
    faulty.refused(422, "invalid_placement");
    assert_eq!(faulty.pointers(), ["/endMs", "/more", "/productId", "/videoId"]);
    edith.get("/placements/check").await.refused(405, "method_not_allowed");
    let text = edith.app.request("POST", "/placements/check").bearer_auth(admin()).body("{}").send().await.unwrap();
    is_refused(text, 415, "unsupported_media_type", None).await;
}

/// Some editors and libraries put one before a text.
#[tokio::test]
async fn a_byte_order_mark_before_a_draft_is_ignored_whoever_judges_it() {
    let edith = Editor::start("check_bom").await;
    let video = edith.video().await;
    let service = service(&edith).await;
    let erin = asking(&edith, &format!("http://{}", service.address), &[]).await;
    let draft = new(&video, 500, 61_000);
    let expected = edith.post("/placements/check", &draft).await.expect(200);
    for editor in [&edith, &erin] {
        let call = editor.call("POST /placements/check", &[], &draft).body(format!("\u{feff}{draft}"));
        assert_eq!(Told::of(call.send().await.unwrap()).await.expect(200), expected);
    }
}

/// A body has a time of its own, and the judgement has its whole time after it.
#[tokio::test]
async fn a_draft_that_arrives_slowly_is_judged() {
    let times = ["--request-timeout=6s", "--kafka-message-timeout=5s", "--redis-timeout=1s", "--body-min-rate=1"];
    let edith = Editor::with("check_slow", &times).await;
    let draft = new(&edith.video().await, 2_000, 3_000);
    let calls = [("/placements/check", draft.clone()), ("/validation/validate", json!({"draft": draft}))];
    let calls = calls.map(async |(path, body)| {
        // Blanks behind JSON are no part of it.
        let body = format!("{:<400}", body.to_string());
        let head = crate::http::post(&of("edith", &["editor"]), body.len()).replace("/events ", &format!("{path} "));
        let (mut raw, start) = (Raw::send(edith.app.address, &head).await, Instant::now());
        trickle(&mut raw, &body, 5).await;
        let answer = raw.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(start.elapsed() > Duration::from_secs(7), "{path}: {:?}", start.elapsed());
    });
    join_all(calls).await;
}

#[tokio::test]
async fn the_service_finds_the_same_and_takes_only_tokens_of_services() {
    let edith = Editor::start("check_there").await;
    let video = edith.video().await;
    edith.placement(&video, 0, 1_000).await;
    let service = service(&edith).await;
    let erin = asking(&edith, &format!("http://{}/", service.address), &[]).await;
    let draft = new(&video, 500, 61_000);
    let here = edith.post("/placements/check", &draft).await.expect(200);
    assert_eq!(erin.post("/placements/check", &draft).await.expect(200), here);
    erin.post("/placements/check", &new("01890a5d-ac96-774b-bcce-b302099a8057", 0, 1))
        .await
        .refused(404, "video_not_found");

    let whole = json!({"videoId": video});
    let call = |app: &TestApp, token: &str| {
        let request = app.request("POST", "/validation/validate").bearer_auth(token);
        request.header("content-type", "application/json").body(whole.to_string()).send()
    };
    let internal = Internal::new(&erin.app.config.backbone.internal).unwrap().unwrap().sign().unwrap();
    let told = Told::of(call(&service, &internal).await.unwrap()).await.expect(200);
    assert_eq!((codes(&told), &told["revision"]), (vec!["product_missing"], &json!(2)));
    for token in [of("edith", &["editor"]), admin(), String::new()] {
        is_refused(call(&service, &token).await.unwrap(), 401, "invalid_token", None).await;
    }
    // A service is nobody elsewhere, and where services have no secret.
    is_refused(call(&edith.app, &internal).await.unwrap(), 401, "invalid_token", None).await;
    let request = erin.app.request("GET", "/videos").bearer_auth(&internal).send().await.unwrap();
    is_refused(request, 401, "invalid_token", None).await;
    // Without a secret editors may call it.
    assert_eq!(edith.post("/validation/validate", &whole).await.expect(200), told);
    let user = call(&edith.app, &user()).await.unwrap();
    is_refused(user, 403, "forbidden", None).await;
}

#[tokio::test]
async fn the_service_judges_a_video_or_a_draft() {
    let edith = Editor::start("check_service").await;
    let video = edith.video().await;
    let judged = async |body: Value| edith.post("/validation/validate", &body).await;
    assert_eq!(judged(json!({"videoId": video})).await.expect(200), json!({"findings": [], "revision": 1}));
    let report = judged(json!({"draft": new(&video, 0, 100)})).await.expect(200);
    assert_eq!(codes(&report), ["product_missing", "too_short"]);
    let none = "01890a5d-ac96-774b-bcce-b302099a8057";
    judged(json!({"videoId": none})).await.refused(404, "video_not_found");
    for (body, pointers) in [
        (json!({}), &["/videoId"][..]),
        (json!({"videoId": video, "draft": new(&video, 0, 1)}), &["/draft"]),
        (json!({"draft": {"videoId": video, "startMs": 1, "endMs": 1}}), &["/draft/endMs", "/draft/productId"]),
    ] {
        let refused = judged(body).await;
        refused.refused(422, "invalid_validation");
        assert_eq!(refused.pointers(), pointers);
    }
}

#[tokio::test]
async fn the_service_works_no_longer_than_its_caller_waits() {
    let edith = Editor::start("check_expected").await;
    let video = edith.video().await;
    let mut blocking = edith.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE videos IN ACCESS EXCLUSIVE MODE").execute(&mut *blocking).await.unwrap();
    let body = json!({"videoId": video});
    // Far less than PostgreSQL's own limit, which has another code.
    edith.send("POST /validation/validate", &[(EXPECTED, "300")], &body).await.refused(503, "timed_out");
    blocking.rollback().await.unwrap();
    edith.send("POST /validation/validate", &[(EXPECTED, "30000")], &body).await.expect(200);
}

#[tokio::test]
async fn while_the_service_is_away_nothing_is_checked_and_all_else_goes_on() {
    let edith = Editor::start("check_away").await;
    let erin = asking(&edith, &nowhere("http://127.0.0.1:PORT"), &[]).await;
    let video = erin.video().await;
    // More often than the breaker needs.
    for _ in 0..8 {
        let refused = erin.post("/placements/check", &new(&video, 0, 1)).await;
        refused.refused(503, "validation_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    erin.placement(&video, 0, 1).await;
}

#[tokio::test]
async fn a_call_of_the_service_is_bounded_repeated_once_and_traced() {
    let edith = Editor::start("check_stub").await;
    let video = edith.video().await;
    let found = json!({"findings": [], "revision": 7});
    let good = found.clone();
    let (address, calls) = stub(move |call, headers: HeaderMap| {
        let good = good.clone();
        async move {
            let told =
                |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            let expected: u64 = told(EXPECTED).parse().unwrap_or_default();
            let is_told =
                told("x-request-id") == "r-7" && told("x-correlation-id") == "c-7" && (1..=20_000).contains(&expected);
            match call {
                1 => StatusCode::BAD_GATEWAY.into_response(),
                _ if !is_told => StatusCode::BAD_REQUEST.into_response(),
                _ => axum::Json(good).into_response(),
            }
        }
    })
    .await;
    let erin = asking(&edith, &address, &["--validation-timeout=20s"]).await;
    let headers = [("x-request-id", "r-7"), ("x-correlation-id", "c-7")];
    let told = erin.send("POST /placements/check", &headers, &new(&video, 0, 1)).await;
    assert_eq!((told.expect(200), calls.load(Ordering::Relaxed)), (found, 2));

    let (address, calls) = stub(|_, _| std::future::pending::<StatusCode>()).await;
    let erin = asking(&edith, &address, &["--validation-timeout=100ms"]).await;
    erin.post("/placements/check", &new(&video, 0, 1)).await.refused(503, "validation_unavailable");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "its time is spent");
}

#[tokio::test]
async fn what_the_service_answers_is_never_taken_for_a_report() {
    let edith = Editor::start("check_strange").await;
    let video = edith.video().await;
    let problem = |status: u16, code: &str| (status, json!({"status": status, "code": code}));
    for ((status, body), expected) in [
        (problem(404, "video_not_found"), (404, "video_not_found")),
        (problem(404, "not_found"), (503, "validation_unavailable")),
        (problem(401, "invalid_token"), (503, "validation_unavailable")),
        (problem(422, "invalid_validation"), (503, "validation_unavailable")),
        (problem(500, "internal"), (503, "validation_unavailable")),
        ((200, json!({"findings": "none"})), (503, "validation_unavailable")),
    ] {
        let (address, _) = stub(move |_, _| {
            let answer = (StatusCode::from_u16(status).unwrap(), axum::Json(body.clone()));
            async move { answer }
        })
        .await;
        let erin = asking(&edith, &address, &[]).await;
        erin.post("/placements/check", &new(&video, 0, 1)).await.refused(expected.0, expected.1);
    }
}
