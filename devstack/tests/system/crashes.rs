//! Workers die and come and go under load; every 202 still has exactly one effect.

use tokio::task::JoinSet;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_does_not_hold_its_successor() {
    let system = System::start("frozen", &[]).await;
    let frozen = system.worker();
    let load = system.load(4);
    some_more(&system).await;
    frozen.service.freeze().unwrap();
    let successor = system.worker();
    some_more(&system).await;
    frozen.service.thaw().unwrap();
    some_more(&system).await;
    let sent = load.end().await;
    system.settle(&sent).await;
    successor.end().await;
    frozen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_ends_in_order_and_what_it_accepted_is_there() {
    let system = System::start("api", &[]).await;
    let worker = system.worker();
    let posts = (0..200).map(|n| {
        let system = Arc::clone(&system);
        async move {
            let answer = system.post(&format!("d{n}"), "1", &serde_json::json!({"n": 1})).await;
            answer.is_ok_and(|response| response.status() == 202)
        }
    });
    let mut posts: JoinSet<bool> = posts.collect();
    // In the middle of them.
    let mut accepted = usize::from(posts.join_next().await.unwrap().unwrap());
    system.api.service.terminate().unwrap();
    accepted += posts.join_all().await.into_iter().map(usize::from).sum::<usize>();
    let ended = Arc::clone(&system);
    assert!(blocking(move || ended.api.service.wait(Duration::from_secs(25))).await.unwrap().success());
    // What was on its way when the connection closed may be there too, and nobody was told.
    system.until("every accepted event is a row", async || system.rows().await >= accepted).await;
    worker.end().await;
}
