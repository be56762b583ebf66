//! Slow callers.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::app::{TestApp, admin};
use crate::http::{Raw, post};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n";

#[tokio::test]
async fn headers_that_trickle_in_end_with_the_connection() {
    let app = TestApp::with("slow_headers", &["--header-timeout=400ms"]).await;
    let mut raw = Raw::connect(app.address).await;
    // Not the first request of its connection, either.
    raw.write(LIVE).await;
    assert!(raw.read_answer().await.starts_with("HTTP/1.1 200"));
    let start = Instant::now();
    raw.write("GET /health/live HTTP/1.1\r\nhost: te").await;
    assert_eq!(raw.read_to_end().await, "");
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_for_headers() {
    let settings = ["--header-timeout=200ms", "--keep-alive-timeout=1500ms"];
    let app = TestApp::with("idle", &settings).await;
    let mut raw = Raw::connect(app.address).await;
    for _ in 0..3 {
        raw.write(LIVE).await;
        assert!(raw.read_answer().await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_millis(500)).await;
    }
    let start = Instant::now();
    assert_eq!(raw.read_to_end().await, "");
    assert!(start.elapsed() < Duration::from_secs(3), "and is closed in the end: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_trickles_in_ends_with_408() {
    let app = TestApp::with("slow_body", &["--request-timeout=600ms", "--kafka-message-timeout=300ms"]).await;
    let mut raw = Raw::connect(app.address).await;
    let start = Instant::now();
    raw.write(&post(&admin(), 100)).await;
    raw.write("{").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains(r#""code":"request_timeout""#), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn connections_past_the_cap_wait_for_their_turn() {
    let app = TestApp::with("cap", &["--max-connections=1"]).await;
    let mut first = Raw::connect(app.address).await;
    first.write(LIVE).await;
    first.read_answer().await;
    let address = app.address;
    let second = tokio::spawn(async move {
        let mut second = Raw::connect(address).await;
        second.write(LIVE).await;
        second.read_answer().await
    });
    sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished());
    drop(first);
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
}
