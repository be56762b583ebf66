//! Events that PostgreSQL refuses: held, tried again after 2, 4 and 8 seconds, then a dead letter;
//! and all the while the rest of the partition goes on.

use crate::kit::headers;
use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_is_tried_four_times_and_holds_up_its_own_device_only() {
    let kit = Kit::new("failing", 1).await;
    kit.refuse("bad").await;
    let worker = kit.worker();
    let started = Instant::now();
    kit.event("bad", "1", r#"{"n":1}"#).await;
    // Alone, so that nobody else's tries are counted.
    until("it is tried", async || kit.tries().await.len() == 1).await;
    kit.events("good", 1..=20).await;
    kit.event("bad", "2", r#"{"n":2}"#).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'good'", 20).await;
    assert!(started.elapsed() < Duration::from_secs(12), "the others did not wait for the retries");
    assert!(kit.committed().await.get(&0).copied().unwrap_or(0) == 0, "nothing is committed past an unfinished event");

    // One after the other: each has its tries.
    let letters = kit.dead_letters(2).await;
    let tries = kit.tries().await;
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() >= 4 && waits[0] >= 2_000 && waits[1] >= 4_000 && waits[2] >= 8_000, "{waits:?}");
    let found: Vec<_> = letters
        .iter()
        .map(|letter| {
            let headers = headers(letter);
            let value = |name: &str| headers.iter().find(|(n, _)| n == name).unwrap().1.clone();
            (
                letter.key().unwrap().to_vec(),
                value("ce_id"),
                value("dlq.reason"),
                value("dlq.error"),
                value("dlq.attempts"),
            )
        })
        .collect();
    let letter = |id: &str, attempts: &str| {
        (b"bad".to_vec(), id.to_owned(), "failed".to_owned(), "SQLSTATE P0001: refused".to_owned(), attempts.to_owned())
    };
    assert_eq!(found, [letter("1", "4"), letter("2", "4")]);
    assert!(started.elapsed() >= Duration::from_secs(2 * 14));

    kit.no_longer_refuse("bad").await;
    kit.event("bad", "3", r#"{"n":3}"#).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 1).await;
    kit.end_at(worker, 23).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_recovers_loses_nothing_and_keeps_its_order() {
    let kit = Kit::new("recovers", 1).await;
    kit.refuse("bad").await;
    let worker = kit.worker();
    kit.events("bad", 1..=5).await;
    kit.apply("good", "1", "{}").await;
    kit.no_longer_refuse("bad").await;
    kit.until("SELECT count(*) FROM events", 6).await;
    assert_eq!(kit.version("bad").await, Some(5));
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":5}'"#).await, 1);
    assert_eq!(kit.dead_letters(0).await.len(), 0);
    worker.stop().await.unwrap();
}
