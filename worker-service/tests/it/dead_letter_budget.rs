//! A flood of dead letters pauses its partition until an operator says otherwise.

use crate::prelude::*;

async fn flood(kit: &Kit, devices: usize) {
    let keys: Vec<_> = (0..devices).map(|n| format!("d{n}")).collect();
    futures_util::future::join_all(keys.iter().map(|key| kit.put(Some(key.as_bytes()), Some(b"x"), &[]))).await;
}

fn is_paused(worker: &Worker) -> bool {
    of_group(&worker.health.report().1)["partitions"]["0"]["paused"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_dead_letters_pauses_the_partition_until_it_is_resumed() {
    let kit = Kit::new("budget", 1).await;
    let worker = kit.worker();
    flood(&kit, 150).await;
    kit.event("good", "1", "{}").await;
    kit.until_it("it is paused", async || is_paused(&worker)).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100);
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await[&0], 100, "the record it stopped at comes first");

    let worker = kit.worker();
    kit.until_it("the pause outlives the worker", async || is_paused(&worker)).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100);
    let said = kit.command(&["resume"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.ends_with(&format!("resumed {} [0]\n", kit.scope.input_topic)), "{said:?}");
    kit.until("SELECT count(*) FROM events", 1).await;
    assert_eq!(kit.dead_letters(150).await.len(), 150);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_shows_is_written_down_and_outlives_a_kill() {
    let kit = Kit::new("killed", 1).await;
    let worker = kit.process().await;
    flood(&kit, 120).await;
    kit.until_it("it is paused", async || worker.health().await.to_string().contains(r#""paused":true"#)).await;
    worker.service.kill().unwrap();
    assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_told_and_so_is_that_it_outlives_a_worker_and_that_it_is_over() {
    let kit = Kit::new("pause_told", 1).await;
    let worker = kit.process().await;
    flood(&kit, 120).await;
    worker.tells("Dead letters flood").await;
    worker.end().await;
    let worker = kit.process().await;
    worker.tells("A partition was paused before this worker had it").await;
    assert_eq!(kit.command(&["resume"]).await.status, 0);
    worker.tells_end_of("A partition was paused before this worker had it").await;
    worker.tells_end_of("Dead letters flood").await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_not_forgotten_because_postgresql_is_away() {
    let kit = Kit::new("known", 1).await;
    let first = kit.worker();
    flood(&kit, 120).await;
    kit.until_it("it is paused", async || is_paused(&first)).await;

    // The next owner's way to PostgreSQL is cut before it gets the partition.
    let (proxy, database_url) = Proxy::before(&kit.scope.database_url).unwrap();
    let second = Worker::start(&run_config(&Scope { database_url, ..kit.scope.clone() })).unwrap();
    kit.until_it("it has joined", async || second.health.report().1["status"] == "ready").await;
    proxy.cut();
    first.stop().await.unwrap();
    kit.until_it("it has the partition", async || second.health.report().1["status"] == "waiting out an outage").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100, "what it does not know does not count as no pause");
    proxy.mend();
    kit.until_it("it knows", async || is_paused(&second)).await;
    assert_eq!(kit.command(&["resume"]).await.status, 0);
    assert_eq!(kit.dead_letters(120).await.len(), 120);
    second.stop().await.unwrap();
}
