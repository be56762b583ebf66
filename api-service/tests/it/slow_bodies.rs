//! Bodies that take long: a modem, a crowd of them, and senders that are too slow.

use std::fmt::Write as _;

use devstack::token::hs256;

use crate::half_close::counted;
use crate::prelude::*;

/// How often a slow sender sends.
const TICK: Duration = Duration::from_millis(100);

/// Sends `text` in pieces of this size, one each tick, until it is sent or the connection is closed.
pub(crate) async fn trickle(raw: &mut Raw, text: &str, piece: usize) {
    for piece in text.as_bytes().chunks(piece) {
        if !raw.write_as_far_as_it_goes(piece).await {
            return;
        }
        sleep(TICK).await;
    }
}

/// An event of this many bytes, which no compression makes much smaller.
fn event(bytes: usize) -> String {
    let around = r#"{"device_id":"d","payload":{"x":""}}"#.len();
    let mut random = String::new();
    while random.len() < bytes - around {
        let _ = write!(random, "{:016x}", fastrand::u64(..));
    }
    random.truncate(bytes - around);
    format!(r#"{{"device_id":"d","payload":{{"x":"{random}"}}}}"#)
}

#[tokio::test]
async fn a_body_of_twenty_kilobytes_arrives_over_a_modem_and_kafka_has_its_whole_time() {
    // Each body takes longer than a request may take after it.
    let times = ["--request-timeout=6s", "--kafka-message-timeout=5s", "--redis-timeout=1s", "--body-min-rate=500"];
    let app = TestApp::with("slow_modem", &times).await;
    let event = event(20_000);
    let gzip = crate::encodings::gzip(event.as_bytes());
    let whole = post(&admin(), event.len());
    let batch = whole.replace("/events ", "/events/batch ").replace("application/json", "application/x-ndjson");
    let chunked = whole.replace(&format!("content-length: {}", event.len()), "transfer-encoding: chunked");
    let packed = post(&admin(), gzip.len()).replace("content-type", "content-encoding: gzip\r\ncontent-type");
    let (event, gzip) = (event.as_bytes(), gzip.as_slice());
    let sent = [(whole, event, false), (batch, event, false), (packed, gzip, false), (chunked, event, true)];
    let sent = sent.map(async |(head, body, is_chunked)| {
        let start = Instant::now();
        let mut raw = Raw::send(app.address, &head).await;
        // 2.5 kB/s; what gzip made smaller is sent more slowly.
        for piece in body.chunks(body.len() / 80) {
            let length = format!("{:x}\r\n", piece.len());
            let framed = [length.as_bytes(), piece, b"\r\n"].concat();
            let framed = if is_chunked { framed.as_slice() } else { piece };
            assert!(raw.write_as_far_as_it_goes(framed).await, "closed after {:?}: {head}", start.elapsed());
            sleep(TICK).await;
        }
        if is_chunked {
            raw.write("0\r\n\r\n").await;
        }
        let answer = raw.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{head}: {answer}");
        assert!(start.elapsed() > Duration::from_secs(8), "{:?}", start.elapsed());
    });
    join_all(sent).await;
    assert_eq!(records(&app, 4).await.len(), 4);
}

#[tokio::test]
async fn a_body_below_the_least_rate_or_beyond_the_whole_time_is_late() {
    let app = TestApp::with("slow_late", &["--body-min-rate=500"]).await;
    let short = TestApp::with("slow_short", &["--body-min-rate=500", "--body-timeout=2s"]).await;
    let event = event(20_000);
    // What is sent, in pieces of this size, and after how many milliseconds it is late at the earliest.
    let table = [(&app, &event[..1], 1, 5_000), (&app, &event[..800], 10, 6_000), (&short, &event[..], 250, 2_000)];
    let sent = table.map(async |(app, text, piece, late)| {
        let mut raw = Raw::send(app.address, &post(&admin(), event.len())).await;
        let start = Instant::now();
        trickle(&mut raw, text, piece).await;
        let answer = raw.read_to_the_end().await;
        let took = start.elapsed();
        println!("{} bytes, {piece} each {TICK:?}: answered after {took:?}", text.len());
        assert!(took >= Duration::from_millis(late), "{took:?}");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        let detail = r#""detail":"the body did not arrive in time: within "#;
        assert!(answer.contains(detail) && answer.contains("after 5s at 500 bytes/s or more"), "{answer}");
    });
    join_all(sent).await;
}

#[tokio::test]
async fn slow_bodies_are_limited_in_number_and_the_next_one_is_told_when_to_come_back() {
    // A quarter of the connections may have slow bodies, and one subject may have a quarter of these.
    let binary = Binary::with(&prepared("slow_crowd").await, &[("MAX_CONNECTIONS", "9"), ("BODY_MIN_RATE", "500")]);
    let token = |subject: &str| hs256(SECRET, subject, &["admin"], &[], Duration::from_secs(600)).unwrap();
    let event = event(10_000);
    // The first of alice's and the first of bob's find a place, as they came first.
    let table = [
        ("alice", "202", ""),
        ("alice", "503", "too many bodies of this subject arrive slowly"),
        ("bob", "202", ""),
        ("carol", "503", "too many bodies arrive slowly"),
    ];
    let mut slow = Vec::new();
    for (subject, status, detail) in table {
        let (mut raw, event) = (Raw::send(binary.address, &post(&token(subject), event.len())).await, event.clone());
        slow.push(tokio::spawn(async move {
            // 10 s, with the least rate.
            trickle(&mut raw, &event, 100).await;
            let answer = raw.read_answer().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{subject}: {answer}");
            assert!(answer.contains(detail), "{subject}: {answer}");
            assert_eq!(answer.contains("retry-after: 5\r\n"), status == "503", "{answer}");
            assert_eq!(answer.contains(r#""code":"overloaded""#), status == "503", "{answer}");
        }));
        sleep(TICK * 5).await;
    }
    counted(&binary, "http_slow_bodies 2").await;
    let quick = reqwest::Client::new();
    for subject in ["alice", "carol"] {
        let request = quick.post(binary.url("/events")).bearer_auth(token(subject));
        let answer = request.header("content-type", "application/json").body(EVENT).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{subject} is not shut out");
    }
    for slow in slow {
        slow.await.unwrap();
    }
    counted(&binary, "http_slow_bodies 0").await;
    counted(&binary, "overloaded_total 2").await;
}

#[tokio::test]
async fn a_few_stalled_batches_do_not_shut_a_modem_out() {
    let binary = Binary::with(&prepared("slow_stalled").await, &[("BODY_MIN_RATE", "500")]);
    let token = |subject: &str| hs256(SECRET, subject, &["admin"], &[], Duration::from_secs(600)).unwrap();
    const BATCH: usize = 8 * 1024 * 1024;
    let batch = |subject: &str| post(&token(subject), BATCH).replace("/events ", "/events/batch ");
    let mut stalled = Vec::new();
    for subject in ["alice", "alice", "bob", "bob"] {
        let mut raw = Raw::send(binary.address, &batch(subject)).await;
        assert!(raw.write_as_far_as_it_goes(&b" ".repeat(BATCH - 1)).await);
        stalled.push(raw);
    }
    counted(&binary, "http_slow_bodies 2").await;
    counted(&binary, "overloaded_total 2").await;
    let event = event(20_000);
    let mut modem = Raw::send(binary.address, &post(&token("carol"), event.len())).await;
    trickle(&mut modem, &event, 250).await;
    let answer = modem.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_refused_when_the_service_ends_before_it_is_there() {
    let settings = [("DRAIN_TIMEOUT", "500ms"), ("BODY_MIN_RATE", "500")];
    let binary = Binary::with(&prepared("slow_end").await, &settings);
    let mut raw = Raw::send(binary.address, &post(&admin(), 20_000)).await;
    raw.write(&" ".repeat(15_000)).await;
    counted(&binary, "http_slow_bodies 1").await;
    let ending = blocking(|| binary.terminate());
    let (answer, (status, log)) = tokio::join!(raw.read_to_the_end(), ending);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(r#""code":"shutting_down""#) && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(status, Some(0), "{log:?}");
    assert!(log.iter().any(|line| line.contains(r#""code":"shutting_down""#)), "{log:?}");
}
