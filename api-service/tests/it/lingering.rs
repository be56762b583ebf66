//! Clients that send everything before they read, as many libraries do: their answer is there when they look for it.

use crate::prelude::*;

const MIB: usize = 1024 * 1024;

/// The headers of a request with this token, and these lines.
fn head(line: &str, token: &str, lines: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n{lines}\r\n\r\n")
}

#[tokio::test]
async fn twenty_megabytes_can_be_sent_before_the_answer_is_read() {
    let app = TestApp::start("linger").await;
    let length = format!("content-type: application/json\r\ncontent-length: {}", 20 * MIB);
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked";
    let chunks = format!("{:x}\r\n", 20 * MIB);
    let post = |path: &str, token: &str| head(&format!("POST {path}"), token, &length);
    let table = [
        (413, post("/events", &admin())),
        (413, post("/events/batch", &admin())),
        (413, head("POST /events", &admin(), chunked) + &chunks),
        (413, head("POST /events/batch", &admin(), chunked) + &chunks),
        (401, post("/events", "nonsense")),
        (403, post("/events", &user())),
        (415, post("/events", &admin()).replace("application/json", "text/plain")),
        (404, post("/nothing", &admin())),
        (405, head("PUT /events", &admin(), &length)),
        (400, post("/events", &admin()).replace("HTTP/1.1", "HTTP/3.0")),
        (431, format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(32 * 1024))),
    ];
    let sent = table.map(async |(status, head)| {
        let what = head.get(..120).unwrap_or(&head).to_owned();
        let mut raw = Raw::send(app.address, &head).await;
        assert!(raw.write_as_far_as_it_goes(&vec![b' '; 20 * MIB]).await, "{status}: it is cut off: {what}");
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
    });
    join_all(sent).await;
}

#[tokio::test]
async fn nobody_is_read_from_for_ever() {
    let app = TestApp::with("linger_end", &["--max-connections=1"]).await;
    let head = head("POST /events", &admin(), "content-type: application/json\r\ncontent-length: 9000000000");
    let mut endless = Raw::send(app.address, &head).await;
    let mut sent = 0;
    while endless.write_as_far_as_it_goes(&vec![b' '; MIB]).await {
        sent += 1;
        assert!(sent < 200, "it reads on");
    }
    println!("cut off after {sent} MiB");
    assert!(sent >= 60, "{sent}");
    // One that falls silent keeps the only connection for some seconds.
    let mut silent = Raw::send(app.address, &head).await;
    assert!(silent.read_to_end().await.starts_with("HTTP/1.1 413"));
    let mut next = Raw::send(app.address, LIVE).await;
    assert!(next.read_answer().await.starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_small_body_that_was_refused() {
    let app = TestApp::start("linger_kept").await;
    let small = head("POST /events", "nonsense", "content-type: application/json\r\ncontent-length: 1000");
    let mut raw = Raw::send(app.address, &small).await;
    raw.write(&" ".repeat(500)).await;
    sleep(Duration::from_millis(50)).await;
    raw.write(&" ".repeat(500)).await;
    let answer = raw.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("connection: close"), "{answer}");
    raw.write(LIVE).await;
    assert!(raw.read_answer().await.starts_with("HTTP/1.1 200"));
    // After a large one it is closed, and the answer says so.
    raw.write(&small.replace("1000", "2000000")).await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
}
