//! Several groups in one process: a fault of one group does not affect the others.

use std::sync::atomic::Ordering;

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_that_fails_panics_hangs_and_ends_leaves_the_others_as_they_are() {
    let kit = Kit::new("two_groups", 1).await;
    let (ones, watchers) = (kit.beside("ones").await, kit.beside("watchers").await);
    let trouble = Trouble::default();
    let parts =
        Parts { stall_timeout: Duration::from_secs(4), compare_interval: Duration::from_secs(1), ..Parts::default() };
    let mut worker = kit.worker_beside(&["devices", "ones", "watchers"], &trouble, parts).await;
    let health = worker.health.clone();
    let of = |of: &Kit| health.report().1["groups"][&of.scope.group].clone();
    // The devices' events up to this one have their effect in both groups, and both groups report no fault.
    let others_are_well = async |events: i64| {
        kit.until("SELECT count(*) FROM events", events).await;
        kit.until("SELECT count(*) FROM watchers", events).await;
        for other in [&kit, &watchers] {
            other.until_committed(0, events).await;
            until("it lags no more", async || other.sample("consumer_lag_records") == Some(0.0)).await;
            let (report, samples) = (of(other), ["events_total", "dead_letters_total", "records_lost_total"]);
            assert_eq!(report["status"], "ready");
            let [outage, panics, held] = ["outage", "panics", "held_keys"].map(|it| &report["partitions"]["0"][it]);
            assert_eq!((outage, panics, held), (&json!(null), &json!(0), &json!(0)));
            #[expect(clippy::cast_precision_loss, reason = "a sample")]
            let expected = [events as f64, 0.0, 0.0];
            assert_eq!(samples.map(|sample| other.sample(sample).unwrap()), expected);
        }
    };

    // It waits for something other than PostgreSQL.
    trouble.hangs.store(true, Ordering::SeqCst);
    ones.event_of(ONE, "h", "1", r#"{"do":"hang"}"#).await;
    let outage = async || of(&ones)["outage"].as_str() == Some("not prepared within 2s");
    until("it waits out an outage", outage).await;
    assert!(!health.report().0, "the process is not ready");
    kit.events("a", 1..=20).await;
    others_are_well(20).await;
    until("it lags", async || ones.sample("consumer_lag_records") == Some(1.0)).await;
    assert_eq!(ones.committed().await[&0], 0);
    trouble.hangs.store(false, Ordering::SeqCst);
    kit.until("SELECT count(*) FROM ones", 1).await;

    ones.event_of(ONE, "p", "2", r#"{"do":"panic"}"#).await;
    ones.event_of(ONE, "f", "3", r#"{"do":"fail"}"#).await;
    kit.events("a", 21..=40).await;
    let letters = ones.dead_letters(2).await;
    let mut reasons: Vec<_> = letters.iter().map(|letter| header(letter, "dlq.reason").unwrap()).collect();
    reasons.sort();
    assert_eq!(reasons, ["failed", "panicked"]);
    ones.until_committed(0, 3).await;
    assert!(of(&ones)["partitions"]["0"]["panics"].as_u64().unwrap() >= 4);
    others_are_well(40).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);

    // It blocks a thread: only another process helps. The other groups finish their work before.
    trouble.blocks.store(true, Ordering::SeqCst);
    ones.event_of(ONE, "b", "4", r#"{"do":"block"}"#).await;
    until("it stands still", async || !of(&ones)["partitions"]["0"]["stalled_seconds"].is_null()).await;
    kit.events("a", 41..=60).await;
    others_are_well(60).await;
    let ended = tokio::time::timeout(TEST_TIMEOUT, worker.ended()).await.unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "a partition's runner no longer responds");
    kit.events("a", 61..=80).await;
    kit.until("SELECT count(*) FROM events", 80).await;
    worker.stop().await.unwrap();
    trouble.blocks.store(false, Ordering::SeqCst);
    // If one process runs all tests, others check whether any partition stands still.
    let labels = [("group", ones.scope.group.clone()), ("partition", "0".to_owned())];
    ::metrics::gauge!("partition_stalled", &labels).set(0.0);
    let committed = [kit.committed().await[&0], watchers.committed().await[&0], ones.committed().await[&0]];
    assert!(committed[0] == 80 && committed[1] >= 60 && committed[2] == 3, "{committed:?}");
    assert_eq!(kit.version("a").await, Some(80));
}
