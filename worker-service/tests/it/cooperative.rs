//! A rebalance takes from a worker what goes to another one, and nothing else.

use std::collections::BTreeSet;

use crate::prelude::*;

/// The partitions of the lines of this kind in a worker's log, in their order.
fn told(worker: &Process, message: &str) -> Vec<i64> {
    let log = worker.service.log();
    json_lines(&log).filter(|line| line["message"] == message).filter_map(|line| line["partition"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_stays_is_never_revoked() {
    let kit = Kit::new("cooperative", 6).await;
    let first = kit.process().await;
    until("the first has all of them", async || told(&first, "assigned").len() == 6).await;
    let second = kit.process().await;
    until("the second has its share", async || told(&second, "assigned").len() == 3).await;
    second.end().await;
    until("the first has it back", async || told(&first, "assigned").len() >= 9).await;

    // While the second was there, and when it left, the other three stayed where they were.
    let (assigned, revoked) = (told(&first, "assigned"), told(&first, "revoked"));
    assert_eq!(assigned.len(), 9, "{assigned:?}");
    let went: BTreeSet<_> = revoked.iter().collect();
    let came_back: BTreeSet<_> = assigned[6..].iter().collect();
    assert_eq!((revoked.len(), &went), (3, &came_back), "revoked {revoked:?}, assigned {assigned:?}");
    first.end().await;
}
