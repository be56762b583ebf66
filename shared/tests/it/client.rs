//! The client of services, against servers that behave in every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use devstack::kit::until;
use serde_json::{Value, json};
use shared::client::{EXPECTED, Peer, PeerConfig, PeerError};
use shared::kafka::Cause;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::prelude::Duration;

/// A time that no test takes.
const LONG: Duration = Duration::from_secs(25);

/// A service that answers as a function of the number of the call, from 1.
struct Service {
    address: String,
    calls: Arc<AtomicUsize>,
}

impl Service {
    async fn start<R, F>(answer: impl Fn(usize, HeaderMap, Value) -> F + Clone + Send + Sync + 'static) -> Self
    where
        R: IntoResponse,
        F: Future<Output = R> + Send + 'static,
    {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let handler = move |headers: HeaderMap, body: axum::Json<Value>| {
            let answering = answer(counted.fetch_add(1, Ordering::Relaxed) + 1, headers, body.0);
            async move { answering.await.into_response() }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/below/ask", post(handler));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, calls }
    }

    /// It answers these statuses one after the other, then 200.
    async fn that_answers(statuses: &'static [u16]) -> Self {
        Self::start(move |call, _, body| async move {
            match statuses.get(call - 1) {
                Some(status) => (StatusCode::from_u16(*status).unwrap(), "problem").into_response(),
                None => axum::Json(body).into_response(),
            }
        })
        .await
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn peer(&self) -> Peer {
        peer(&self.address, LONG)
    }
}

fn peer(address: &str, timeout: Duration) -> Peer {
    let url = format!("{address}/below/");
    let bearer = Box::new(|| Ok("a.b.c".to_owned()));
    Peer::new(PeerConfig { name: "test", setting: "TEST_URL", url: &url, timeout, bearer }).unwrap()
}

async fn ask(peer: &Peer) -> Result<Value, PeerError> {
    peer.post("/ask", &json!({"n": 7}), &Cause::default(), Instant::now() + LONG).await
}

fn is_unavailable(answered: &Result<Value, PeerError>, why: &str) {
    match answered {
        Err(PeerError::Unavailable(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_tells_who_calls_for_what_and_how_long_the_caller_waits() {
    let service = Service::start(|_, headers: HeaderMap, body| async move {
        let names = ["authorization", "content-type", "x-request-id", "x-correlation-id", "traceparent", EXPECTED];
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        axum::Json(json!({"body": body, "headers": names.map(value)}))
    })
    .await;
    let cause = Cause {
        correlation_id: Some("c-1".to_owned()),
        request_id: Some("r-1".to_owned()),
        traceparent: Some("00-1-2-01".to_owned()),
        user_id: Some("alice".to_owned()),
        causation_id: None,
    };
    let told = |timeout: Duration, left: Duration| {
        let (peer, cause) = (peer(&service.address, timeout), cause.clone());
        async move {
            let answer: Value = peer.post("/ask", &json!({"n": 7}), &cause, Instant::now() + left).await.unwrap();
            assert_eq!(answer["body"], json!({"n": 7}));
            let expected = json!(["Bearer a.b.c", "application/json", "r-1", "c-1", "00-1-2-01"]);
            assert_eq!(answer["headers"].as_array().unwrap()[..5], expected.as_array().unwrap()[..]);
            answer["headers"][5].as_str().unwrap().parse::<u64>().unwrap()
        }
    };
    // The rest of the caller's time, less what it needs for its own answer.
    let most = told(LONG, Duration::from_secs(20)).await;
    assert!((1..=19_950).contains(&most), "{most}");
    let most = told(Duration::from_secs(9), Duration::from_secs(20)).await;
    assert!((1..=9_000).contains(&most), "{most}");
    let most = told(Duration::from_secs(600), Duration::from_secs(600)).await;
    assert!((1..=30_000).contains(&most), "no call takes longer than 30 s: {most}");
    // What the caller does not know is not told.
    let plain: Value = service.peer().post("/ask", &7, &Cause::default(), Instant::now() + LONG).await.unwrap();
    assert_eq!(plain["headers"].as_array().unwrap()[2..5], [Value::Null, Value::Null, Value::Null]);
}

#[tokio::test]
async fn a_service_that_cannot_work_at_the_moment_is_asked_once_more() {
    for status in [502, 503, 504] {
        let statuses: &'static [u16] = Box::leak(Box::new([status]));
        let service = Service::that_answers(statuses).await;
        assert_eq!(ask(&service.peer()).await, Ok(json!({"n": 7})), "{status}");
        assert_eq!(service.calls(), 2);
        let statuses: &'static [u16] = Box::leak(Box::new([status; 9]));
        let service = Service::that_answers(statuses).await;
        is_unavailable(&ask(&service.peer()).await, &status.to_string());
        assert_eq!(service.calls(), 2, "and not more often");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_tried_once_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        // Closed without a word.
        drop(listener.accept().await.unwrap());
        let routes = Router::new().route("/below/ask", post(async |body: axum::Json<Value>| body));
        axum::serve(listener, routes).await
    });
    assert_eq!(ask(&peer(&address, LONG)).await, Ok(json!({"n": 7})));
}

#[tokio::test]
async fn an_answer_is_not_asked_for_twice() {
    for status in [400, 401, 403, 404, 409, 422, 429] {
        let service = Service::that_answers(Box::leak(Box::new([status]))).await;
        let expected = PeerError::Refused { status, body: "problem".into() };
        assert_eq!(ask(&service.peer()).await, Err(expected));
        assert_eq!(service.calls(), 1);
    }
    let moved = || (StatusCode::FOUND, [(header::LOCATION, "/below/ask")]).into_response();
    type Answer = fn() -> Response;
    let answers: [(&str, Answer); 4] = [
        ("500", || StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ("302", moved),
        ("expected", || "no JSON".into_response()),
        ("larger than", || vec![b' '; 17 * 1024 * 1024].into_response()),
    ];
    for (why, answer) in answers {
        let service = Service::start(move |_, _, _| async move { answer() }).await;
        match ask(&service.peer()).await {
            Err(PeerError::Broken(said)) => assert!(said.contains(why), "{why}: {said}"),
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(service.calls(), 1, "{why}");
    }
}

#[tokio::test]
async fn a_call_ends_before_its_caller_has_to_answer() {
    let service = Service::start(|_, _, _| std::future::pending::<StatusCode>()).await;
    let (peer, cause) = (peer(&service.address, LONG), Cause::default());
    let post = |left: Duration| peer.post::<_, Value>("/ask", &7, &cause, Instant::now() + left);
    let begun = Instant::now();
    is_unavailable(&post(Duration::from_millis(400)).await, "");
    // Of the time that there is it takes what it may, and leaves the rest.
    assert!(begun.elapsed() >= Duration::from_millis(350));
    assert_eq!(service.calls(), 1, "its time is spent");
    for none in [Duration::ZERO, Duration::from_millis(50)] {
        is_unavailable(&post(none).await, "no time left");
    }
    assert_eq!(service.calls(), 1, "nothing was sent");
    // Callers in a hurry do not keep the others from calling.
    for _ in 0..6 {
        is_unavailable(&post(Duration::from_millis(60)).await, "");
    }
    is_unavailable(&post(Duration::from_millis(100)).await, "time");
}

#[tokio::test]
async fn a_service_that_fails_again_and_again_is_left_alone_for_a_moment() {
    let service = Service::that_answers(&[503; 10]).await;
    let peer = service.peer();
    // Each call is tried twice: the ten retries that a budget begins with are enough.
    for _ in 0..4 {
        is_unavailable(&ask(&peer).await, "503");
    }
    let begun = Instant::now();
    is_unavailable(&ask(&peer).await, "503");
    assert_eq!(service.calls(), 10);
    until("one call is let through, and closes it", async || match ask(&peer).await {
        Ok(_) => true,
        other => {
            is_unavailable(&other, "several times in a row");
            assert_eq!(service.calls(), 10, "it gets no call");
            false
        }
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    for _ in 0..9 {
        assert_eq!(ask(&peer).await, Ok(json!({"n": 7})));
    }
    assert_eq!(service.calls(), 20);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let address = format!("http://127.0.0.1:{}", devstack::port::free());
    is_unavailable(&ask(&peer(&address, LONG)).await, "");
}
