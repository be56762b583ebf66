//! The metric of an expiry that makes no progress.

use crate::prelude::*;

/// How far behind the worker reports to be with this kind of rows.
async fn behind(worker: &Process, rows: &str) -> Option<f64> {
    worker.sample(&format!("events_expiry_behind_seconds{{rows=\"{rows}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_without_its_index_is_ever_further_behind() {
    let kit = Kit::new("expiry", 1).await;
    kit.sql("DROP INDEX events_written").await;
    let worker = kit.process_with(&[("EVENTS_RETENTION", "30d")]).await;
    // It tries once a minute, and the metric grows in between.
    until("it is behind", async || behind(&worker, "written").await.is_some_and(|seconds| seconds > 0.0)).await;
    let first = behind(&worker, "written").await.unwrap();
    until("it grows", async || behind(&worker, "written").await.unwrap() >= first + 5.0).await;
    // There are no old `appended` rows: a measurement after the start finds that out.
    let is_less = async || behind(&worker, "appended").await.unwrap() + 1.0 < behind(&worker, "written").await.unwrap();
    until("the others are not behind", is_less).await;
    worker.end().await;
}
