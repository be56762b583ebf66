//! Submissions that Kafka does not take.

use std::time::{Duration, Instant};

use crate::app::{TestApp, admin, nowhere, problem};

#[tokio::test]
async fn an_event_that_is_not_acknowledged_in_time_has_an_unknown_outcome() {
    let brokers = nowhere("--kafka-brokers=127.0.0.1:PORT");
    let app = TestApp::with("no_kafka", &[&brokers, "--kafka-message-timeout=500ms", "--request-timeout=3s"]).await;
    let start = Instant::now();
    let response = app.submit(r#"{"device_id":"d","event_id":"e-1","payload":{}}"#).await;
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let unknown = problem(response).await;
    assert_eq!((&unknown["code"], &unknown["event_id"]), (&"outcome_unknown".into(), &"e-1".into()));

    let unnamed = problem(app.submit(r#"{"device_id":"d","payload":{}}"#).await).await;
    assert!(unnamed["event_id"].as_str().is_some_and(|id| id.len() == 36), "a generated one is told too: {unnamed}");
}

#[tokio::test]
async fn an_event_for_a_full_queue_is_refused_at_once() {
    let brokers = nowhere("--kafka-brokers=127.0.0.1:PORT");
    let app = TestApp::with("full_queue", &[&brokers, "--kafka-message-timeout=3s", "--kafka-queue-bytes=1024"]).await;
    let body = format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "y".repeat(700));
    let waiting = tokio::spawn(app.submission(&admin(), body.clone()).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    let response = app.submit(body).await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let refused = problem(response).await;
    assert_eq!(refused["code"], "queue_full");
    assert!(refused["event_id"].is_string());
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
}
