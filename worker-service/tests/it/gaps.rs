//! Offset gaps that are not data loss: transaction markers and aborted records.

use std::collections::BTreeSet;

use worker_service::consumer::partition::GapReader;

use crate::prelude::*;

/// Regression: every gap caused its own request to the broker.
#[tokio::test(flavor = "multi_thread")]
async fn for_all_gaps_of_a_second_the_broker_is_asked_once() {
    const TRANSACTIONS: usize = 60;
    let kit = Kit::new("many_gaps", 1).await;
    let producer = kit.transactional("gaps");
    for n in 0..TRANSACTIONS {
        producer.open("d", &[&n.to_string()]);
        producer.commit();
    }
    let began = Instant::now();
    let worker = kit.process_with(&[("RUST_LOG", "worker_service=debug")]).await;
    kit.event("d", "behind", "{}").await;
    kit.until("SELECT count(*) FROM events", i64::try_from(TRANSACTIONS + 1).unwrap()).await;
    let log = worker.end_and_log().await;
    let took = began.elapsed();
    let looks = told(&log, "checked gaps");
    let gaps: u64 = looks.iter().map(|look| look["gaps"].as_u64().unwrap()).sum();
    assert!(!looks.is_empty() && gaps <= TRANSACTIONS as u64, "{looks:?}");
    // One a second, and one more at shutdown.
    let most = took.div_duration_f64(Duration::from_secs(1)) as usize + 2;
    assert!(looks.len() <= most, "{} questions in {took:?}", looks.len());
    // Kafka writes the last marker after it has answered the commit, so that it may follow the event.
    let (committed, end) = (kit.committed().await[&0], i64::try_from(2 * TRANSACTIONS + 1).unwrap());
    assert!((end - 1..=end).contains(&committed), "{committed}");
}

/// Regression: checks that ran out of time started from the beginning and never finished; then consumed records counted
/// as lost.
#[tokio::test(flavor = "multi_thread")]
async fn more_gaps_than_a_look_has_time_for_are_read_by_and_by_and_are_no_loss() {
    /// Several, because a producer has to wait for each marker before its next transaction.
    const PRODUCERS: i64 = 16;
    const TRANSACTIONS: i64 = PRODUCERS * 90;
    /// Each has a record and a marker.
    const END: i64 = 2 * TRANSACTIONS;
    let kit = Kit::new("slow_gaps", 1).await;
    let writing: Vec<_> = (0..PRODUCERS)
        .map(|n| {
            let producer = kit.transactional(&format!("gaps-{n}"));
            tokio::task::spawn_blocking(move || {
                for transaction in 0..TRANSACTIONS / PRODUCERS {
                    producer.open("d", &[&format!("{n}-{transaction}")]);
                    producer.commit();
                }
                producer
            })
        })
        .collect();
    let mut producers = Vec::new();
    for producer in writing {
        producers.push(producer.await.unwrap());
    }
    until("the markers are written", async || kit.log_end(0).await == END).await;
    kit.event("d", "behind", "{}").await;

    // With a reader that has very little time for each check.
    let (config, topic) = (client(&kit.scope), kit.scope.input_topic.clone());
    let records = BTreeSet::from_iter(kit.offsets().await);
    let read = move || {
        let reader = GapReader::new(&config, "nobody");
        let gaps: Vec<_> = (0..END).filter(|at| !records.contains(at)).map(|at| at..at + 1).collect();
        assert_eq!(gaps.len(), TRANSACTIONS as usize);
        let (mut left, mut looks) = (gaps, 0);
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "{looks} looks, {} left", left.len());
            let found = reader.read(&topic, 0, &left, Duration::from_millis(200)).unwrap();
            assert_eq!(found.missing, []);
            let read = left.len() - found.left.len();
            assert_eq!(found.left, left[read..], "gaps alone are given back");
            (left, looks) = (found.left, looks + 1);
        }
        looks
    };
    let looks = blocking(read).await;
    assert!(looks > 3, "{looks} looks");

    let worker = kit.process_with(&[("RUST_LOG", "worker_service=debug")]).await;
    kit.until("SELECT count(*) FROM events", TRANSACTIONS + 1).await;
    let left_over = || -> Vec<u64> {
        let looks = told(&worker.service.log(), "checked gaps");
        looks.iter().filter_map(|look| look["left_over"].as_u64()).collect()
    };
    kit.until_committed(0, END + 1).await;
    until("nothing is left", async || left_over().last() == Some(&0)).await;
    // The log now begins within the checked range, and there is one more gap to check.
    kit.delete_records(TRANSACTIONS).await;
    let looked = left_over().len();
    producers[0].open("d", &["more"]);
    producers[0].commit();
    kit.event("d", "last", "{}").await;
    until("it is looked into", async || left_over().len() > looked && left_over().last() == Some(&0)).await;
    assert_eq!(worker.sample("records_lost_total").await, Some(0.0));
    let log = worker.end_and_log().await;
    for told in ["data loss", "records may be lost", "no time to check"] {
        assert!(!log.contains(told), "{told}: {log}");
    }
}
