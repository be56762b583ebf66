//! PostgreSQL freezes during work, and resumes after every deadline has passed.

use crate::prelude::*;

/// By partition: the group's committed offset, and the offset after the last row in the tables.
async fn committed_and_done(system: &System) -> Vec<(usize, usize)> {
    let scope = system.scope.clone();
    let read = move || devstack::committed(&scope.endpoints.kafka_brokers, &scope.input_topic, &scope.group).unwrap();
    let mut all = Vec::new();
    for (partition, (offset, _)) in blocking(read).await {
        let done = format!("SELECT coalesce(max(\"offset\") + 1, 0) FROM events WHERE partition = {partition}");
        all.push((usize::try_from(offset).unwrap(), system.count(&done).await));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgresql_poisons_no_connection_and_holds_up_no_end() {
    let system = System::start_with("freezes", &[Own::Postgres], &[("DATABASE_TIMEOUT", "2s")]).await;
    let worker = system.worker();
    let load = system.load(6);
    system.until("the worker works", async || system.rows().await > 100).await;

    system.servers.postgres().freeze().unwrap();
    system.until("the worker says so", async || worker.status().await == "waiting out an outage").await;
    // Longer than the timeouts of the client and the server.
    tokio::time::sleep(Duration::from_secs(4)).await;
    system.servers.postgres().thaw().unwrap();
    system.until("the worker is well again", async || worker.status().await == "ready").await;
    system.some_more().await;

    // SIGTERM while it waits for an answer that does not come.
    system.servers.postgres().freeze().unwrap();
    let asked = Instant::now();
    worker.end().await;
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    system.servers.postgres().thaw().unwrap();
    for (committed, done) in committed_and_done(&system).await {
        assert!(committed <= done, "nothing is committed that is not in the tables: {committed}, {done}");
    }

    let successor = system.worker();
    let sent = load.end().await;
    system.settle(&sent).await;
    successor.end().await;
    for (committed, done) in committed_and_done(&system).await {
        assert_eq!(committed, done, "and in the end all is");
    }
}
