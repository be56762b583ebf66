//! Other producers write in transactions: the lag counts only readable records without their effect.

use crate::prelude::*;

/// Neither markers nor aborted records count as lag, even if no record follows them.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_partition_is_not_behind_after_transactions() {
    let (kit, worker) = Kit::with_process("markers", 1).await;
    let producer = kit.transactional("markers");
    for n in 0..20 {
        producer.open("d", &[&n.to_string()]);
        if n % 2 == 0 {
            producer.commit();
        } else {
            producer.abort();
        }
    }
    kit.until("SELECT count(*) FROM events", 10).await;
    let end = kit.log_end(0).await;
    assert_eq!(end, 40);
    kit.until_committed(0, end).await;
    until("nothing is behind", async || worker.sample("consumer_lag_records").await == Some(0.0)).await;
    assert_eq!(worker.sample("watermark_age_seconds").await, Some(0.0));
    assert_eq!(worker.sample("unstable_records").await, Some(0.0));
    assert_eq!(worker.sample("records_lost_total").await, Some(0.0));
    let log = worker.end_and_log().await;
    for never in ["data loss", "stands still", "cannot explain these gaps yet"] {
        assert!(!log.contains(never), "{never}: {log}");
    }

    // The next worker starts behind the last marker, and continues with new events.
    let worker = kit.process().await;
    kit.apply("d", "behind", "{}").await;
    worker.end().await;
    assert_eq!((kit.version("d").await, kit.committed().await[&0]), (Some(11), end + 1));
}

/// Another producer's transaction blocks all records behind it. That is reported, and is not lag.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_an_open_transaction_is_told() {
    let (kit, worker) = Kit::with_process("unstable", 1).await;
    kit.apply("d", "before", "{}").await;
    let producer = kit.transactional("unstable");
    producer.open("d", &["1", "2"]);
    kit.event("d", "behind", "{}").await;
    until("it is told", async || worker.sample("unstable_records").await == Some(3.0)).await;
    until("for how long", async || worker.sample("unstable_age_seconds").await > Some(0.0)).await;
    let (brokers, topic) = (kit.scope.endpoints.kafka_brokers.clone(), kit.scope.input_topic.clone());
    assert_eq!(blocking(move || devstack::stable_ends(&brokers, &topic)).await.unwrap()[&0], 1);
    assert_eq!(worker.sample("consumer_lag_records").await, Some(0.0));
    assert_eq!(worker.sample("watermark_age_seconds").await, Some(0.0));
    let report = worker.health().await;
    let unstable = &of_group(&report)["partitions"]["0"]["unstable"];
    assert_eq!((&unstable["records"], &unstable["from_offset"]), (&json!(3), &json!(1)), "{report}");
    worker.tells("A transaction is open").await;
    worker.tells("A transaction is open for over a minute").await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 1);
    producer.commit();
    kit.until("SELECT count(*) FROM events", 4).await;
    worker.tells_end_of("A transaction is open").await;
    worker.tells_end_of("A transaction is open for over a minute").await;
    worker.end().await;
    assert_eq!((kit.version("d").await, kit.committed().await[&0]), (Some(4), 5), "behind the marker");
}

/// The watchdog's timeout is shorter than the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn behind_an_open_transaction_a_partition_does_not_stand_still_for_no_reason() {
    let kit = Kit::new("no_stall", 1).await;
    let worker = kit.worker_with(Parts { stall_timeout: Duration::from_secs(1), ..Parts::default() });
    let producer = kit.transactional("no_stall");
    producer.open("d", &["1"]);
    kit.event("d", "2", "{}").await;
    let of_first = |what: &str| partition(&worker, 0)[what].clone();
    let age = || of_first("unstable")["age_seconds"].as_u64();
    until("it has been open for long", async || age() >= Some(5)).await;
    assert_eq!((of_first("stalled_seconds"), worker.health.report().0), (Value::Null, true));
    producer.abort();
    kit.until("SELECT count(*) FROM events", 1).await;
    kit.until_committed(0, 3).await;
    worker.stop().await.unwrap();
}

/// The markers of aborted records are behind the start of an open transaction, where they cannot be read yet. The
/// client does not report which records it leaves out.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_before_an_open_transaction_is_not_behind() {
    let (kit, worker) = Kit::with_process("interleaved", 1).await;
    kit.apply("d", "before", "{}").await;
    let (aborted, open) = (kit.transactional("aborted"), kit.transactional("open"));
    aborted.open("d", &["1", "2"]);
    open.open("d", &["3"]);
    aborted.abort();
    assert_eq!(kit.log_end(0).await, 5);
    kit.until_committed(0, 3).await;
    let nothing = async |name| worker.sample(name).await == Some(0.0);
    until("nothing is behind", async || nothing("consumer_lag_records").await).await;
    assert!(nothing("watermark_age_seconds").await);
    assert_eq!(worker.sample("unstable_records").await, Some(2.0));
    open.commit();
    kit.until("SELECT count(*) FROM events", 2).await;
    kit.until_committed(0, 6).await;
    worker.end().await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE event_id IN ('1', '2')").await, 0);
}
