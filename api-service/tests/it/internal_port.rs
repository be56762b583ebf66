//! The internal port: metrics, and health for orchestrators without access to the public port.

use crate::half_close::counted;
use crate::prelude::*;

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let scope = prepared("internal").await;
    let binary = Binary::start(&scope);
    let post = binary.post("/events", &admin(), r#"{"device_id":"d","payload":{}}"#);
    assert_eq!(post.send().await.unwrap().status(), 202);
    for path in ["/made/up", "/resource/none"] {
        binary.get(path, &user()).send().await.unwrap();
    }
    let metrics = binary.metrics().await;
    let produced = format!(r#"kafka_produce_total{{topic="{}",outcome="accepted"}} 1"#, scope.input_topic);
    for expected in [
        r#"http_requests_total{method="POST",route="/events",status="202"} 1"#,
        r#"http_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"http_request_duration_seconds_count{route="/events"} 1"#,
        &produced,
        r#"kafka_produce_duration_seconds_count 1"#,
        r#"cache_lookups_total{kind="resource",outcome="stored"} 1"#,
    ] {
        assert!(metrics.contains(expected), "{expected}\n{metrics}");
    }
    assert_eq!(binary.live().await, 200);
    assert_eq!(binary.get("/metrics", &user()).send().await.unwrap().status(), 404, "not in public");
    assert_eq!(binary.terminate().0, Some(0));
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_has_its_line() {
    let binary = Binary::start(&scope("internal_unreadable").await);
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(33 * 1024));
    for (request, reason, status) in [("nonsense\r\n\r\n", "unreadable", 400), (&large, "headers_too_large", 431)] {
        let mut raw = Raw::send(binary.address, request).await;
        assert!(raw.read_to_the_end().await.starts_with(&format!("HTTP/1.1 {status} ")));
        let line = format!(r#""reason":"{reason}""#);
        let says = |seen: &str| seen.contains("a request that cannot be read") && seen.contains(&line);
        until("it has its line", async || binary.service.log().lines().any(says)).await;
        counted(&binary, &format!(r#"http_connections_closed_total{{reason="{reason}"}} 1"#)).await;
    }
}
