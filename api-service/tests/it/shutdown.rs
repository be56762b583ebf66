//! Shutdown: requests under way are answered, and no more are accepted.

use api_service::backbone::health;
use tokio::net::TcpStream;

use crate::prelude::*;

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let mut app = TestApp::start("shutdown").await;
    let mut idle = Raw::send(app.address, LIVE).await;
    idle.read_answer().await;
    let mut fresh = Raw::connect(app.address).await;
    let mut busy = Raw::send(app.address, &post(&admin(), EVENT.len())).await;
    sleep(Duration::from_millis(200)).await;

    app.stop();
    let start = std::time::Instant::now();
    assert_eq!(idle.read_to_end().await, "", "an idle connection is closed");
    assert_eq!(fresh.read_to_end().await, "", "one that was never used, too");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(TcpStream::connect(app.address).await.is_err(), "nothing more is accepted");
    let (ready, report) = health::report(&app.backbone.health, &app.backbone.tokens);
    assert!(!ready, "{report}");
    assert_eq!(report["status"], "unready");

    busy.write(EVENT).await;
    let answer = busy.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(records(&app, 1).await.len(), 1);
    app.ended().await;
}

#[tokio::test]
async fn traffic_is_still_taken_until_the_load_balancer_has_noticed() {
    let mut app = TestApp::with("shutdown_delay", &["--drain-delay=5min"]).await;
    let mut kept = Raw::send(app.address, LIVE).await;
    let answer = kept.read_answer().await;
    assert!(!answer.contains("connection: close"), "{answer}");

    app.stop();
    let says = async || app.request("GET", "/health/ready").send().await.unwrap().status() == 503;
    devstack::kit::until("it says that it ends", says).await;
    let answer = app.submit(EVENT).await;
    assert_eq!(answer.status(), 202, "on a new connection");
    assert_eq!(answer.headers()["connection"], "close");
    kept.write(&post(&admin(), EVENT.len())).await;
    kept.write(EVENT).await;
    let answer = kept.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "on an old one, which this answer closes: {answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn the_end_has_a_deadline() {
    let mut app = TestApp::with("shutdown_deadline", &["--drain-timeout=300ms"]).await;
    let stuck = Raw::send(app.address, &post(&admin(), EVENT.len())).await;
    sleep(Duration::from_millis(200)).await;
    app.stop();
    let start = std::time::Instant::now();
    app.ended().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(stuck);
}
