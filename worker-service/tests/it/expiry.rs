//! An expiry that does not go on: what it says of itself.

use crate::prelude::*;

/// How far a worker says that it is behind, with the rows of this kind.
async fn behind(worker: &Process, rows: &str) -> Option<f64> {
    worker.sample(&format!("events_expiry_behind_seconds{{rows=\"{rows}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_without_its_index_is_ever_further_behind() {
    let kit = Kit::new("expiry", 1).await;
    kit.sql("DROP INDEX events_written").await;
    let worker = kit.process_with(&[("EVENTS_RETENTION", "30d")]).await;
    // It tries each minute, and shows in between that it knows of no success.
    until("it is behind", async || behind(&worker, "written").await.is_some_and(|seconds| seconds > 0.0)).await;
    let first = behind(&worker, "written").await.unwrap();
    until("it grows", async || behind(&worker, "written").await.unwrap() >= first + 5.0).await;
    // Of the rows of before there are none: that is known, and was found out after the start.
    let (written, appended) = (behind(&worker, "written").await.unwrap(), behind(&worker, "appended").await.unwrap());
    assert!(appended < written, "{appended} {written}");
    worker.end().await;
}
