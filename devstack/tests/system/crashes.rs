//! Workers die and come and go under load; every 202 still has exactly one effect.

use crate::kit::refusals;
use crate::prelude::*;

/// Waits until the worker has written some more: a kill in the middle of the work.
async fn some_more(system: &System) {
    let before = system.rows().await;
    system.until("the worker works", async || system.rows().await > before + 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_the_load_loses_and_repeats_nothing() {
    let system = System::start("crashes", &[]).await;
    let mut worker = system.worker();
    let load = system.load(8);
    for _ in 0..3 {
        some_more(&system).await;
        worker.service.kill().unwrap();
        worker = system.worker();
    }
    some_more(&system).await;
    let second = system.worker();
    system.until("the second worker has joined", async || second.status().await == "ready").await;
    some_more(&system).await;
    second.end().await;
    some_more(&system).await;
    worker.end().await;
    let last = system.worker();
    let sent = load.end().await;
    assert_eq!(refusals(&sent), 0, "a worker's death is nothing to a device");
    system.settle(&sent).await;
    last.end().await;
}
