//! Slow clients.

use crate::prelude::*;

#[tokio::test]
async fn headers_that_trickle_in_end_with_the_connection() {
    let app = TestApp::with("slow_headers", &["--keep-alive-timeout=400ms"]).await;
    let mut raw = Raw::connect(app.address).await;
    // The deadline also applies to later requests of a connection.
    raw.write(LIVE).await;
    assert!(raw.read_answer().await.starts_with("HTTP/1.1 200"));
    let start = Instant::now();
    raw.write("GET /health/live HTTP/1.1\r\nhost: te").await;
    assert_eq!(raw.read_to_end().await, "");
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let app = TestApp::with("idle", &["--keep-alive-timeout=1500ms"]).await;
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
async fn who_does_not_take_its_answers_in_is_let_go() {
    let app = TestApp::with("unread", &["--write-timeout=500ms"]).await;
    let mut raw = Raw::connect_narrow(app.address).await;
    let requests = "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1000);
    let mut taken = 0;
    while raw.write_as_far_as_it_goes(requests.as_bytes()).await {
        taken += 1;
        assert!(taken < 1000, "a million answers are held for one who reads none");
    }
    // Other clients are not affected.
    assert_eq!(app.get("none").await.status(), 404);
}

#[tokio::test]
async fn a_connection_more_waits_until_one_ends() {
    let app = TestApp::with("cap", &["--max-connections=1", "--keep-alive-timeout=1s"]).await;
    let mut silent = Raw::connect(app.address).await;
    let mut next = Raw::send(app.address, LIVE).await;
    assert!(next.read_answer().await.starts_with("HTTP/1.1 200"));
    assert_eq!(silent.read_to_end().await, "", "its time was over first");
}

#[tokio::test]
async fn each_answer_closes_its_connection_while_there_is_no_room_for_another() {
    let app = TestApp::with("cap_full", &["--max-connections=3"]).await;
    let ask = async |raw: &mut Raw| {
        raw.write(LIVE).await;
        raw.read_answer().await
    };
    let mut kept = Raw::connect(app.address).await;
    assert!(!ask(&mut kept).await.contains("connection: close"));
    let mut second = Raw::connect(app.address).await;
    for raw in [&mut second, &mut kept] {
        assert!(!ask(raw).await.contains("connection: close"), "there is room for one more");
    }
    let others = [second, Raw::connect(app.address).await];
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ask(&mut kept).await.contains("connection: close") {
        assert!(Instant::now() < deadline, "it is kept open");
    }
    assert_eq!(kept.read_to_end().await, "");
    drop(others);
}

#[tokio::test]
async fn a_connection_more_waits_where_all_are_busy() {
    let app = TestApp::with("cap_busy", &["--max-connections=1"]).await;
    let mut first = Raw::connect(app.address).await;
    let body = r#"{"device_id":"d","payload":{}}"#;
    first.write(&post(&admin(), body.len())).await;
    first.write(&body[..9]).await;
    let is_taken_in = async || app.backbone.ingest.in_flight.left() < app.config.backbone.http.max_bytes_in_flight;
    devstack::kit::until("its body is there", is_taken_in).await;
    let address = app.address;
    let second = tokio::spawn(async move {
        let mut second = Raw::send(address, LIVE).await;
        second.read_answer().await
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    first.write(&body[9..]).await;
    assert!(first.read_answer().await.starts_with("HTTP/1.1 202"), "what is under way is not broken off");
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
}
