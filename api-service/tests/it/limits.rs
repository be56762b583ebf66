//! The limits of one caller, and of all callers together.

use std::ops::RangeInclusive;

use api_service::http::in_flight::InFlight;
use devstack::token::hs256;

use crate::history::{history, report};
use crate::prelude::*;

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn of(subject: &str) -> String {
    hs256(SECRET, subject, &["admin"], &[], Duration::from_secs(60)).unwrap()
}

async fn left(room: &InFlight, bytes: RangeInclusive<usize>) {
    let is_left = async || if bytes.contains(&room.left()) { Ok(()) } else { Err(room.left()) };
    devstack::kit::found(&format!("{bytes:?} bytes are left"), is_left).await;
}

#[tokio::test]
async fn a_subject_past_its_rate_is_told_when_to_come_back() {
    // The bucket of 100 gains only one event a second.
    let settings = ["--rate-limit-events-per-second=1", "--rate-limit-burst=100", "--rate-limit-reads-per-second=10"];
    let app = TestApp::with("rate", &settings).await;
    let post = |token: &str, body: &'static str| app.submission(token, body).send();
    let (alice, bob) = (of("alice"), of("bob"));

    let first = post(&alice, EVENT).await.unwrap();
    assert_eq!(first.status(), 202);
    assert_eq!(header(&first, "ratelimit-policy"), Some(r#""events";q=100;w=100"#));
    assert_eq!(header(&first, "ratelimit"), Some(r#""events";r=99;t=1"#));
    checked(first).await;

    // The rate is charged before the body is read: an invalid body costs one, too.
    assert_eq!(post(&alice, "{").await.unwrap().status(), 400);
    let mut last = post(&alice, EVENT).await.unwrap();
    let mut taken = 3;
    while last.status() == 202 && taken < 150 {
        last = post(&alice, EVENT).await.unwrap();
        taken += 1;
    }
    assert_eq!(last.status(), 429, "after {taken}");
    assert!((101..140).contains(&taken), "{taken}");
    assert_eq!(header(&last, "retry-after"), Some("1"));
    assert_eq!(header(&last, "ratelimit-policy"), Some(r#""events";q=100;w=100"#));
    assert_eq!(header(&last, "ratelimit"), Some(r#""events";r=0;t=100"#));
    assert_eq!(problem(last).await["code"], "rate_limited");

    assert_eq!(post(&bob, EVENT).await.unwrap().status(), 202, "another has a bucket of its own");
    let read = app.request("GET", "/resource/none").bearer_auth(&alice).send().await.unwrap();
    assert_eq!(read.status(), 404, "and reads are another matter");
    assert_eq!(header(&read, "ratelimit-policy"), Some(r#""reads";q=100;w=10"#));

    // A request without a valid token, or without a role, is not charged.
    let nobody = post("nonsense", EVENT).await.unwrap();
    assert_eq!((nobody.status().as_u16(), header(&nobody, "ratelimit")), (401, None));
    let reader = post(&user(), EVENT).await.unwrap();
    assert_eq!((reader.status().as_u16(), header(&reader, "ratelimit")), (403, None));
    assert_eq!(records(&app, 1).await.len() as u64, 1);
}

async fn many(app: &TestApp, token: &str, count: usize) -> Response {
    batch(app, token, "application/json", format!("[{}]", vec![EVENT; count].join(","))).send().await.unwrap()
}

#[tokio::test]
async fn a_batch_costs_what_it_holds() {
    let app = TestApp::with("rate_batch", &["--rate-limit-events-per-second=1", "--rate-limit-burst=10"]).await;
    let began = Instant::now();
    let taken = many(&app, &admin(), 8).await;
    assert_eq!((taken.status().as_u16(), header(&taken, "ratelimit")), (202, Some(r#""events";r=2;t=8"#)));
    let refused = many(&app, &admin(), 8).await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    // The bucket gains one each second, and a busy machine may take some seconds.
    assert!(wait <= 6 && wait + began.elapsed().as_secs() + 1 >= 6, "{wait}");
    let refused = problem(refused).await;
    assert_eq!(refused["code"], "rate_limited");
    let left = 8 - wait;
    assert_eq!(refused["detail"], format!("the request needs 8 events, and this subject has {left} of 10 left"));

    // A body that is not a batch costs one.
    let bad = batch(&app, &of("bob"), "application/json", "[").send().await.unwrap();
    assert_eq!((bad.status().as_u16(), header(&bad, "ratelimit")), (400, Some(r#""events";r=9;t=1"#)));

    // A batch larger than the burst gets the maximum, and no wait.
    let refused = is_refused(many(&app, &of("carol"), 12).await, 413, "too_many_events", None).await;
    assert_eq!(refused["detail"], "a subject may send up to 10 events at once, and the request has 12");
    assert_eq!(many(&app, &of("carol"), 10).await.status(), 202, "it has cost nothing");
}

#[tokio::test]
async fn no_room_for_another_body() {
    let app = TestApp::with("room", &["--max-bytes-in-flight=17825792"]).await;
    // Leaves memory only for a small body.
    let mut held = app.backbone.ingest.in_flight.empty();
    held.cover(17 * 1024 * 1024 - 1000).unwrap();
    assert_eq!(app.submit(EVENT).await.status(), 202);
    let large = format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "x".repeat(2000));
    is_refused(app.submit(large.clone()).await, 503, "overloaded", Some("1")).await;

    // The same for a body without a length, and for one that is larger after decompression.
    let mut raw = Raw::connect(app.address).await;
    let head = post(&admin(), 0).replace("content-length: 0", "transfer-encoding: chunked");
    raw.write(&format!("{head}{:x}\r\n{large}\r\n0\r\n\r\n", large.len())).await;
    assert!(raw.read_answer().await.starts_with("HTTP/1.1 503"));
    let packed = app.submission(&admin(), zstd::encode_all(large.as_bytes(), 3).unwrap());
    let refused = packed.header("content-encoding", "zstd").send().await.unwrap();
    assert_eq!(problem(refused).await["code"], "overloaded");

    drop(held);
    assert_eq!(app.submit(large).await.status(), 202);
}

#[tokio::test]
async fn a_body_takes_its_room_as_it_comes_and_until_it_is_answered() {
    let app = TestApp::with("room_held", &["--max-bytes-in-flight=17825792"]).await;
    let all = 17 * 1024 * 1024;
    let taken = async |bytes: usize| left(&app.backbone.ingest.in_flight, all - bytes..=all - bytes).await;
    let body = format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "x".repeat(200_000));
    let mut raw = Raw::send(app.address, &post(&admin(), body.len())).await;
    raw.write(&body[..10]).await;
    taken(10).await;
    raw.write(&body[10..]).await;
    assert!(raw.read_answer().await.starts_with("HTTP/1.1 202"));
    taken(0).await;
}

#[tokio::test]
async fn who_promises_much_and_sends_nothing_takes_nobodys_room() {
    let app = TestApp::with("room_promised", &["--max-bytes-in-flight=17825792"]).await;
    let mut liars = Vec::new();
    for _ in 0..50 {
        liars.push(Raw::send(app.address, &post(&admin(), 260 * 1024).replace("/events ", "/events/batch ")).await);
    }
    let large = format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "x".repeat(200_000));
    for _ in 0..20 {
        assert_eq!(app.submit(large.clone()).await.status(), 202);
    }
}

#[tokio::test]
async fn one_subjects_bodies_leave_room_for_all_others() {
    const MIB: usize = 1024 * 1024;
    const ALL: usize = 34 * MIB;
    // A subject's share is the memory of the largest body: half of the budget here.
    let app = TestApp::with("room_share", &["--max-bytes-in-flight=35651584"]).await;
    let (alice, bob) = (of("alice"), of("bob"));
    let large = format!(r#"{{"device_id":"d","payload":{{"x":"{}"}}}}"#, "x".repeat(200_000));
    // Takes the whole share, except for the last byte of the largest body.
    let mut held = app.backbone.ingest.in_flight.empty().of("alice");
    held.cover(9 * MIB).unwrap();
    let mut slow = Raw::send(app.address, &post(&alice, 8 * MIB).replace("/events ", "/events/batch ")).await;
    slow.write(&" ".repeat(8 * MIB - 1)).await;
    left(&app.backbone.ingest.in_flight, 0..=ALL / 2 + 1).await;
    is_refused(app.submission(&alice, large.clone()).send().await.unwrap(), 503, "overloaded", Some("1")).await;
    for _ in 0..20 {
        assert_eq!(app.submission(&bob, large.clone()).send().await.unwrap().status(), 202);
    }
    drop((slow, held));
    left(&app.backbone.ingest.in_flight, ALL..=ALL).await;
    assert_eq!(app.submission(&alice, large).send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn answers_to_submissions_have_room_until_they_are_taken() {
    const ALL: usize = 18_000_000;
    let app = TestApp::with("room_told", &["--max-bytes-in-flight=18000000", "--write-timeout=2s"]).await;
    let in_flight = &app.backbone.ingest.in_flight;
    // A small body with a large response: the last event differs, so the response lists each event.
    let body = format!("[{}{EVENT}]", "7,".repeat(999));
    let submit = || batch(&app, &admin(), "application/json", body.clone()).send();
    let told = submit().await.unwrap();
    assert_eq!(told.status(), 207);
    let size = told.bytes().await.unwrap().len();
    assert!(size > 3 * 16 * 1024, "{size}");
    left(in_flight, ALL..=ALL).await;

    // Memory for the body, but not for the response: nothing is sent to Kafka.
    let mut others = in_flight.empty();
    others.cover(ALL - 10_000).unwrap();
    is_refused(submit().await.unwrap(), 503, "overloaded", Some("1")).await;
    assert_eq!(records(&app, 1).await.len(), 1);
    drop(others);

    // Memory for one response, by the estimate that is made before the results are known. The buffers of both kernels
    // hold some responses; the next one stays in memory.
    let most = body.len() + 1000 * 256 + 32 * 1024;
    assert!(size < most, "{size}");
    let mut others = in_flight.empty();
    others.cover(ALL - most).unwrap();
    let mut idler = Raw::connect_narrow(app.address).await;
    let head = post(&admin(), body.len()).replace("/events ", "/events/batch ");
    // Longer than a response takes.
    let is_held = async || {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if in_flight.left() == most {
                return false;
            }
        }
        true
    };
    for asked in 0.. {
        assert!(asked < 500, "no answer takes up any room");
        idler.write(&format!("{head}{body}")).await;
        if is_held().await {
            break;
        }
    }
    assert_eq!(app.submit(EVENT).await.status(), 202, "small answers need none");
    // `WRITE_TIMEOUT` closes the connection, which releases its memory.
    drop(others);
    left(in_flight, ALL..=ALL).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_have_their_room_and_no_more() {
    let app = TestApp::with("room_answers", &["--max-bytes-in-flight=22000000", "--write-timeout=2s"]).await;
    for first in [0, 8] {
        report(&app, first, 8, 250_000).await;
    }
    work(&app, 16).await;
    let path = "/resource/d/events?limit=200";
    let whole = history(&app, &user(), "?limit=200").await.bytes().await.unwrap();
    assert!(whole.len() > 3_500_000, "{}", whole.len());
    let left = async |bytes: usize| left(&app.backbone.answers, bytes..=bytes).await;
    left(22_000_000).await;

    // An answer needs about twice its room while it is written.
    let mut idlers = Vec::new();
    for nth in 1..=4 {
        let mut raw = Raw::connect_narrow(app.address).await;
        raw.write(&format!("GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n", user())).await;
        left(22_000_000 - nth * whole.len()).await;
        idlers.push(raw);
    }
    is_refused(history(&app, &user(), "?limit=200").await, 503, "overloaded", Some("1")).await;
    assert_eq!(app.submit(EVENT).await.status(), 202, "bodies are another matter");
    assert_eq!(app.get("none").await.status(), 404, "and so are small answers");
    // `WRITE_TIMEOUT` closes the connections, which releases their memory.
    left(22_000_000).await;
    assert_eq!(history(&app, &user(), "?limit=200").await.bytes().await.unwrap(), whole);
}
