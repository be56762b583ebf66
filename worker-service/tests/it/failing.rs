//! Events that PostgreSQL refuses: held, tried again after 2, 4 and 8 seconds, then dead-lettered, while the rest of
//! the partition continues.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_is_tried_four_times_and_holds_up_its_own_device_only() {
    let kit = Kit::new("failing", 1).await;
    kit.refuse("bad").await;
    let worker = kit.worker();
    let started = Instant::now();
    kit.event("bad", "1", r#"{"n":1}"#).await;
    // Alone, so that only its attempts are counted.
    until("it is tried", async || kit.tries().await.len() == 1).await;
    kit.events("good", 1..=20).await;
    kit.event("bad", "2", r#"{"n":2}"#).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'good'", 20).await;
    assert!(started.elapsed() < Duration::from_secs(12), "the others did not wait for the retries");
    assert_eq!(kit.committed().await[&0], 0, "nothing is committed past an unfinished event");

    // One after the other: each event has its own attempts.
    let letters = kit.dead_letters(2).await;
    let tries = kit.tries().await;
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() >= 4 && waits[0] >= 2_000 && waits[1] >= 4_000 && waits[2] >= 8_000, "{waits:?}");
    assert_eq!(letters.len(), 2);
    for (letter, id) in letters.iter().zip(["1", "2"]) {
        let found = ["ce_id", "dlq.reason", "dlq.error", "dlq.attempts"].map(|name| header(letter, name).unwrap());
        assert_eq!(
            (letter.key(), found.join(" ")),
            (Some(&b"bad"[..]), format!("{id} failed SQLSTATE P0001: refused 4"))
        );
    }
    assert!(started.elapsed() >= Duration::from_secs(2 * 14));

    kit.no_longer_refuse("bad").await;
    kit.apply("bad", "3", r#"{"n":3}"#).await;
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
