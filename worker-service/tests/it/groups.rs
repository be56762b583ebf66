//! A hanging worker gives up its partitions, and every event still has exactly one effect. A rebalance takes only those
//! partitions from a worker that move to another one.

use std::collections::BTreeSet;

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_postgresql_hangs_lets_go_in_time() {
    let kit = Kit::new("hangs", 6).await;
    let (proxy, first) = kit.proxied_worker();
    let report = async |id: &str| {
        let devices: Vec<_> = (0..30).map(|device| format!("d{device}")).collect();
        join_all(devices.iter().map(|device| kit.event(device, id, "{}"))).await;
    };
    report("1").await;
    kit.until("SELECT count(*) FROM events", 30).await;
    proxy.hold();
    report("2").await;
    let began = Instant::now();
    let second = kit.worker();
    wait_for_partitions(&[&first, &second]).await;
    let took = began.elapsed();
    // Its limits are 8 s for work in progress and 3 s for the commit.
    assert!(took < Duration::from_secs(30), "{took:?}");
    proxy.mend();
    kit.until("SELECT count(*) FROM resources WHERE version = 2", 30).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 60);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert_eq!(kit.committed().await.values().sum::<i64>(), 60);
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

/// Waits until these workers share all six partitions, and each has at least one.
async fn wait_for_partitions(workers: &[&Worker]) {
    let shared = async || {
        let owned: Vec<usize> = workers
            .iter()
            .map(|worker| of_group(&worker.health.report().1)["partitions"].as_object().unwrap().len())
            .collect();
        if owned.iter().sum::<usize>() == 6 && owned.iter().all(|count| *count > 0) { Ok(()) } else { Err(owned) }
    };
    found("each has some", shared).await;
}

/// The partitions in a worker's log lines with this message, in order.
fn partitions(worker: &Process, message: &str) -> Vec<i64> {
    told(&worker.service.log(), message).iter().filter_map(|line| line["partition"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_stays_is_never_revoked() {
    let kit = Kit::new("cooperative", 6).await;
    let first = kit.process().await;
    until("the first has all of them", async || partitions(&first, "assigned").len() == 6).await;
    let second = kit.process().await;
    until("the second has its share", async || partitions(&second, "assigned").len() == 3).await;
    second.end().await;
    until("the first has it back", async || partitions(&first, "assigned").len() >= 9).await;

    // When the second worker joined and when it left, the other three partitions stayed with the first.
    let (assigned, revoked) = (partitions(&first, "assigned"), partitions(&first, "revoked"));
    assert_eq!(assigned.len(), 9, "{assigned:?}");
    let went: BTreeSet<_> = revoked.iter().collect();
    let came_back: BTreeSet<_> = assigned[6..].iter().collect();
    assert_eq!((revoked.len(), &went), (3, &came_back), "revoked {revoked:?}, assigned {assigned:?}");
    first.end().await;
}
