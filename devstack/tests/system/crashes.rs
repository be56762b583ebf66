//! Workers crash, stop and start under load; every 202 still has exactly one effect.

use crate::kit::refusals;
use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_the_load_loses_and_repeats_nothing() {
    let system = System::start("crashes", &[]).await;
    let mut worker = system.worker();
    let load = system.load(8);
    for _ in 0..3 {
        system.some_more().await;
        worker.service.kill().unwrap();
        worker = system.worker();
    }
    system.some_more().await;
    let second = system.worker();
    system.until("the second worker has joined", async || second.status().await == "ready").await;
    system.some_more().await;
    second.end().await;
    system.some_more().await;
    worker.end().await;
    let last = system.worker();
    let sent = load.end().await;
    assert_eq!(refusals(&sent), 0, "a worker's death is nothing to a device");
    system.settle(&sent).await;
    last.end().await;
}
