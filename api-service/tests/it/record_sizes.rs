//! A record that is too large is refused alone: valid events of the same request are accepted.

use std::collections::HashSet;

use crate::prelude::*;
use crate::sized::{
    AROUND, BATCHES, MAX_PAYLOAD, PATIENT, SINGLES, Sent, array, in_order, limit_of, limited, places, post_batch,
    post_single,
};

/// Sends requests of every size up to the limit, many at once, and checks each result.
async fn generated(limit: usize, compression: &str) {
    let seed = std::env::var("RECORD_SIZES_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("RECORD_SIZES_SEED={seed}, a limit of {limit}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scope = prepared(&format!("sizes_{limit}_{compression}")).await;
    limit_of(&scope, limit, compression).await;
    let app = TestApp::prepared(scope, &PATIENT).await;
    let largest = (limit - AROUND).min(MAX_PAYLOAD);
    let mut requests: Vec<Vec<Sent>> = Vec::new();
    let mut formats = Vec::new();
    for n in 0..90 {
        // At most 3 MiB, so that the machine can answer in time.
        let events = if n % 3 == 0 { 1 } else { random.usize(2..=60) };
        // Most are small, some as large as possible, and some close to the limit of a batch.
        let mut left = 3 << 20;
        let mut request = Vec::new();
        for m in 0..events {
            let bytes = match random.u8(0..8) {
                0 => largest,
                1 => largest - random.usize(0..64.min(largest)),
                2 => largest / random.usize(2..=8),
                3 => random.usize(1..=largest),
                _ => random.usize(1..=largest.min(20_000)),
            };
            if bytes > left {
                break;
            }
            left -= bytes;
            let device = format!("d{}", random.usize(0..10));
            let compressible = random.u8(0..4) == 0;
            request.push(Sent::new(&mut random, device, format!("{n}-{m}"), bytes, compressible));
        }
        let format = match &request[..] {
            [_] => SINGLES[random.usize(0..SINGLES.len())],
            _ => BATCHES[random.usize(0..BATCHES.len())],
        };
        formats.push(format);
        requests.push(request);
    }
    let all: Vec<_> = requests.iter().zip(&formats).collect();
    for some in all.chunks(12) {
        let answers = join_all(some.iter().map(async |(request, format)| match &request[..] {
            [only] => post_single(&app, only, format).await,
            many => post_batch(&app, many, format).await,
        }));
        for (answer, (_, format)) in answers.await.into_iter().zip(some) {
            let status = answer.status();
            assert_eq!(status, 202, "{format}: {}", answer.text().await.unwrap());
        }
    }
    let used = formats.iter().collect::<HashSet<_>>();
    assert!(SINGLES.iter().chain(&BATCHES).all(|format| used.contains(format)), "{used:?}");
    let places = places(&app, requests.iter().map(Vec::len).sum()).await;
    for request in &requests {
        in_order(&places, request);
    }
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_20_kb() {
    generated(20_000, "uncompressed").await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_100_kb() {
    generated(100_000, "uncompressed").await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_400_kb() {
    generated(400_000, "uncompressed").await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_that_keeps_what_producers_compressed() {
    generated(100_000, "producer").await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_1_mb() {
    generated(1_000_000, "uncompressed").await;
}

#[tokio::test]
async fn what_is_too_large_alone_is_refused_alone() {
    let app = TestApp::prepared(limited("too_large", 20_000).await, &PATIENT).await;
    let mut random = fastrand::Rng::new();
    let mut of = |device: &str, id: &str, bytes| Sent::new(&mut random, device.into(), id.into(), bytes, false);
    is_refused(app.submit(of("d", "0", 20_000).json()).await, 413, "body_too_large", None).await;

    let request =
        [of("d", "1", 5_000), of("e", "2", 19_000), of("d", "3", 50_000), of("d", "4", 19_000), of("f", "5", 7)];
    let answer = batch(&app, &admin(), "application/json", array(&request)).send().await.unwrap();
    assert_eq!(answer.status(), 207);
    let told: Value = answer.json().await.unwrap();
    let statuses: Vec<_> = told["items"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, [202, 202, 413, 202, 202], "{told}");
    assert_eq!(told["items"][2], json!({"index": 2, "status": 413, "code": "body_too_large", "event_id": "3"}));
    let good: Vec<_> = request.iter().filter(|sent| sent.id != "3").cloned().collect();
    let places = places(&app, good.len()).await;
    assert_eq!(places.len(), good.len());
    in_order(&places, &good);

    // Compressed with lz4, it fits a topic that keeps the producers' compression, but no other.
    let compressible = Sent::new(&mut fastrand::Rng::new(), "d".into(), "6".into(), 100_000, true);
    assert_eq!(app.submit(compressible.json()).await.status(), 413);
    // The limit is larger by one, which shows when the change has taken effect.
    limit_of(&app.scope, 20_001, "producer").await;
    assert_eq!(app.submit(compressible.json()).await.status(), 202);
}
