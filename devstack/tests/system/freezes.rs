//! PostgreSQL stops running in the middle of everything, and runs again after every deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kit::{System, blocking};

/// By partition: what the group has committed, and behind what is in the tables.
async fn committed_and_done(system: &Arc<System>) -> Vec<(i64, i64)> {
    let system = Arc::clone(system);
    let read = move || {
        let scope = &system.scope;
        let committed = devstack::committed(&scope.endpoints.kafka_brokers, &scope.input_topic, &scope.group).unwrap();
        let done = |partition: i32| {
            let max = format!("SELECT coalesce(max(\"offset\") + 1, 0) FROM events WHERE partition = {partition}");
            system.sql(&max).parse().unwrap()
        };
        committed.into_iter().map(|(partition, (offset, _))| (offset, done(partition))).collect()
    };
    blocking(read).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgresql_poisons_no_connection_and_holds_up_no_end() {
    let system = System::start("freezes", &[("DATABASE_TIMEOUT", "2s")]).await;
    let worker = system.worker();
    let load = system.load(6);
    let rows = async || {
        let system = Arc::clone(&system);
        blocking(move || system.sql("SELECT count(*) FROM events").parse::<usize>().unwrap()).await
    };
    system.until("the worker works", async || rows().await > 100).await;

    system.stack.postgres.freeze().unwrap();
    system.until("the worker says so", async || worker.status().await == "waiting out an outage").await;
    // Longer than the client's deadline, and the server's own.
    tokio::time::sleep(Duration::from_secs(4)).await;
    system.stack.postgres.thaw().unwrap();
    system.until("the worker is well again", async || worker.status().await == "ready").await;
    let before = rows().await;
    system.until("the worker works again", async || rows().await > before + 50).await;

    // Told to end while it waits for an answer that does not come.
    system.stack.postgres.freeze().unwrap();
    let asked = Instant::now();
    worker.end().await;
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    system.stack.postgres.thaw().unwrap();
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
