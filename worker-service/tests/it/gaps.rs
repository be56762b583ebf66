//! A gap in the offsets that is no loss: markers of transactions, and what was aborted.

use std::time::{Duration, Instant};

use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn records_of_transactions_are_applied_and_their_markers_are_no_loss() {
    let kit = Kit::new("gaps", 1).await;
    let worker = kit.process().await;
    kit.event("d", "before", "{}").await;
    let producer = kit.transactional("gaps");
    for (ids, committed) in [(["1", "2"], true), (["3", "4"], false), (["5", "6"], true)] {
        // Aborted or not, they are in the log.
        producer.open("d", &ids);
        if committed {
            producer.commit();
        } else {
            producer.abort();
        }
    }
    // Behind seven records and three markers.
    let (_, offset) = kit.event("d", "behind", "{}").await;
    // Kafka writes a marker after it has answered that the transaction is committed.
    assert!((9..=10).contains(&offset), "{offset}");
    kit.until("SELECT count(*) FROM events WHERE event_id = 'behind'", 1).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 6, "all but the aborted");
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE event_id IN ('3', '4')").await, 0);
    assert_eq!(kit.version("d").await, Some(6));
    let metrics = worker.page("/metrics").await;
    assert!(metrics.contains("\nrecords_lost_total 0\n"), "{metrics}");
    // Each gap was looked into by the time that it has ended.
    let log = worker.end_and_log().await;
    assert!(!log.contains("data loss"), "{log}");
    assert!(!log.contains("gaps that cannot be explained yet"), "{log}");
    let committed = kit.committed().await[&0];
    assert!((offset + 1..=11).contains(&committed), "{committed}");
}

/// Each was a question of its own to the broker, however many there were.
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
    let looks: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains(r#""message":"looked into gaps""#))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let gaps: u64 = looks.iter().map(|look| look["gaps"].as_u64().unwrap()).sum();
    assert!(!looks.is_empty() && gaps <= TRANSACTIONS as u64, "{looks:?}");
    // One a second, and a last one on the way out.
    let most = took.div_duration_f64(Duration::from_secs(1)) as usize + 2;
    assert!(looks.len() <= most, "{} questions in {took:?}", looks.len());
    assert_eq!(kit.committed().await[&0], i64::try_from(2 * TRANSACTIONS + 1).unwrap());
}
