//! Clients that close their sending side and wait for the response (FIN), or disconnect before it (RST). Each request
//! gets its response if the client is still there, and is in the log and in the metrics in any case.

use devstack::kit::json_lines;

use crate::prelude::*;
use crate::read::Held;

fn named(request: &str, id: &str) -> String {
    request.replacen("host: test\r\n", &format!("host: test\r\nx-request-id: {id}\r\n"), 1)
}

fn chunked() -> String {
    let head = post(&admin(), 0).replace("content-length: 0", "transfer-encoding: chunked");
    format!("{head}{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len())
}

fn expecting() -> String {
    post(&admin(), EVENT.len()).replace("content-length", "expect: 100-continue\r\ncontent-length")
}

fn get() -> String {
    format!("GET /resource/none HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n", user())
}

/// Waits for the log line of this request, and returns its message and status.
async fn logged(binary: &Binary, id: &str) -> (String, u64) {
    let line = async || {
        let log = binary.service.log();
        let line = json_lines(&log).find(|line| line["request_id"] == id && line["status"].is_u64());
        line.ok_or(log)
    };
    let line = found(&format!("there is a line of {id}"), line).await;
    (line["message"].as_str().unwrap().to_owned(), line["status"].as_u64().unwrap())
}

/// Waits until the metrics have this line.
pub(crate) async fn counted(binary: &Binary, line: &str) {
    let metrics = async || {
        let metrics = binary.metrics().await;
        if metrics.lines().any(|found| found == line) { Ok(()) } else { Err(metrics) }
    };
    found(line, metrics).await;
}

#[tokio::test]
async fn a_client_that_half_closes_is_answered_logged_and_counted() {
    let scope = prepared("half_close").await;
    // The linger delays the write to Kafka until the client's FIN has arrived.
    let binary = Binary::with(&scope, &[("ACCESS_LOG", "all"), ("KAFKA_LINGER", "300ms")]);
    let whole = format!("{}{EVENT}", post(&admin(), EVENT.len()));
    for (id, request) in [("length", whole), ("chunked", chunked()), ("expecting", format!("{}{EVENT}", expecting()))] {
        let mut raw = Raw::send(binary.address, &named(&request, id)).await;
        raw.half_close().await;
        let answer = raw.read_to_end().await;
        let answer = answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 202"), "{id}: {answer}");
        assert_eq!(logged(&binary, id).await, ("answered".into(), 202));
    }

    let mut raw = Raw::send(binary.address, &named(&expecting(), "asking first")).await;
    raw.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    raw.write(EVENT).await;
    raw.half_close().await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 202"));

    let mut raw =
        Raw::send(binary.address, &named(&format!("{}{EVENT}", post(&admin(), EVENT.len() + 1)), "half")).await;
    raw.half_close().await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("the body is incomplete"), "{answer}");
    assert_eq!(logged(&binary, "half").await, ("answered".into(), 400));

    let held = Held::hold(&scope).await;
    let mut raw = Raw::send(binary.address, &named(&get(), "read")).await;
    raw.half_close().await;
    held.until_one_waits().await;
    held.release().await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 404"));
    assert_eq!(logged(&binary, "read").await, ("answered".into(), 404));
    counted(&binary, r#"http_requests_total{method="POST",route="/events",status="202"} 4"#).await;
    counted(&binary, r#"http_requests_total{method="GET",route="/resource/{id}",status="404"} 1"#).await;
}

#[tokio::test]
async fn a_client_that_is_gone_before_its_answer_is_logged_and_counted() {
    let scope = prepared("client_gone").await;
    let binary = Binary::with(&scope, &[("ACCESS_LOG", "all")]);
    let held = Held::hold(&scope).await;
    let raw = Raw::send(binary.address, &named(&get(), "gone")).await;
    held.until_one_waits().await;
    raw.reset();
    held.release().await;
    assert_eq!(logged(&binary, "gone").await, ("answered".into(), 404));
    counted(&binary, r#"http_requests_total{method="GET",route="/resource/{id}",status="404"} 1"#).await;
    counted(&binary, r#"http_connections_closed_total{reason="client_gone"} 1"#).await;
}

/// For each deadline: a half-closed client that never completes its request, or that reads nothing, keeps its
/// connection no longer than any other.
#[tokio::test]
async fn a_half_closed_client_is_held_for_no_longer_than_any_other() {
    let times = ["--request-timeout=1s", "--kafka-message-timeout=500ms", "--redis-timeout=100ms"];
    let connections = ["--max-connections=1", "--write-timeout=500ms", "--keep-alive-timeout=5min"];
    let app = TestApp::with("half_close_held", &[times.as_slice(), &connections].concat()).await;

    let mut raw = Raw::send(app.address, "GET /health/li").await;
    raw.half_close().await;
    assert_eq!(raw.read_to_end().await, "", "half a head is no request");

    let mut raw = Raw::send(app.address, &post(&admin(), 100)).await;
    raw.half_close().await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 400"));

    let held = Held::hold(&app.scope).await;
    let mut raw = Raw::send(app.address, &get()).await;
    raw.half_close().await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 503"), "REQUEST_TIMEOUT counts");
    held.release().await;

    let mut raw = Raw::connect_narrow(app.address).await;
    let document = "GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n";
    // More than the buffers of both kernels hold.
    raw.write(&document.repeat(500)).await;
    raw.half_close().await;
    // The only permitted connection is free again.
    let mut next = Raw::send(app.address, LIVE).await;
    assert!(next.read_answer().await.starts_with("HTTP/1.1 200"));
    drop(raw);
}

#[tokio::test]
async fn a_half_closed_client_is_answered_at_the_end() {
    let mut app = TestApp::with("half_close_end", &["--kafka-linger=1s"]).await;
    let mut raw = Raw::send(app.address, &format!("{}{EVENT}", post(&admin(), EVENT.len()))).await;
    raw.half_close().await;
    let is_taken_in = async || app.backbone.ingest.in_flight.left() < app.config.backbone.http.max_bytes_in_flight;
    until("its body is there", is_taken_in).await;
    app.stop();
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(records(&app, 1).await.len(), 1);
    app.ended().await;
}

#[tokio::test]
async fn a_request_that_the_end_of_the_service_drops_is_logged() {
    let binary = Binary::with(&prepared("dropped").await, &[("DRAIN_TIMEOUT", "300ms")]);
    let mut raw = Raw::send(binary.address, &named(&expecting(), "stuck")).await;
    // The request is in its handler, and its body never comes.
    raw.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    let (status, seen) = blocking(|| binary.terminate()).await;
    assert_eq!(status, Some(0), "{seen:?}");
    let line = seen.iter().find(|line| line.contains(r#""request_id":"stuck""#)).unwrap_or_else(|| panic!("{seen:?}"));
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["message"], &line["status"]), (&"not answered".into(), &499.into()));
    assert_eq!((&line["method"], &line["route"]), (&"POST".into(), &"/events".into()));
}
