//! A flood of dead letters pauses its partition until an operator resumes it.

use crate::prelude::*;

fn is_paused(worker: &Worker) -> bool {
    partition(worker, 0)["paused"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_dead_letters_pauses_the_partition_until_it_is_resumed() {
    let (kit, worker) = Kit::with_worker("budget", 1).await;
    // Incomplete origin headers do not exempt a record from the budget.
    let half: [(&str, Option<&[u8]>); 2] = [("origin.topic", Some(b"t")), ("origin.offset", Some(b"-1"))];
    kit.poison(75, &[]).await;
    kit.poison(75, &half).await;
    kit.event("good", "1", "{}").await;
    until("it is paused", async || is_paused(&worker)).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100);
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await[&0], 100, "the record it stopped at comes first");

    let worker = kit.worker();
    until("the pause outlives the worker", async || is_paused(&worker)).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100);
    let said = kit.succeeds(&["resume"]).await;
    assert!(
        said.ends_with(&format!("resumed {} [0] of the group {}\n", kit.scope.input_topic, kit.scope.group)),
        "{said}"
    );
    kit.until("SELECT count(*) FROM events", 1).await;
    assert_eq!(kit.dead_letters(150).await.len(), 150);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_told_and_so_is_that_it_outlives_a_kill_and_that_it_is_over() {
    let (kit, worker) = Kit::with_process("pause_told", 1).await;
    kit.poison(120, &[]).await;
    until("it is paused", async || worker.partition(0).await["paused"] == true).await;
    assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 1, "what shows is written down");
    worker.tells("Dead letters flood").await;
    worker.service.kill().unwrap();
    let worker = kit.process().await;
    worker.tells("A partition was paused before this worker had it").await;
    kit.succeeds(&["resume"]).await;
    worker.tells_end_of("A partition was paused before this worker had it").await;
    worker.tells_end_of("Dead letters flood").await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_not_forgotten_because_postgresql_is_away() {
    let kit = Kit::new("known", 1).await;
    let first = kit.worker();
    kit.poison(120, &[]).await;
    until("it is paused", async || is_paused(&first)).await;

    // The next owner's connection to PostgreSQL is cut before it gets the partition.
    let (proxy, second) = kit.proxied_worker();
    until("it has joined", async || second.health.report().1["status"] == "ready").await;
    proxy.cut();
    first.stop().await.unwrap();
    until("it has the partition", async || second.health.report().1["status"] == "waiting out an outage").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100, "what it does not know does not count as no pause");
    proxy.mend();
    until("it knows", async || is_paused(&second)).await;
    kit.succeeds(&["resume"]).await;
    assert_eq!(kit.dead_letters(120).await.len(), 120);
    second.stop().await.unwrap();
}
