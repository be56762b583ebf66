//! Commands: how fast they are, how fast and how soon their events come to the topic and to subscribers, and who publishes
//! them when the relay has died.

mod files;
mod post;
mod relay;
mod soon;
mod subscriber;
mod takeover;

use std::time::{Duration, Instant};

use anyhow::ensure;
use shared::runtime::config::Secret;
use shared::store::{Pooler, PostgresConfig, Store};
use tokio::task::JoinSet;

use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::report::Figure;

/// The task of the worker that brings events to the topic.
const RELAY: (&str, &str) = ("WORKER_ONLY", "outbox-relay");

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let mut rows = vec![post::measure(&Site::new(bed, "placed")?, scale)?];
    let site = Site::new(bed, "commands")?;
    rows.extend(relay::measure(&site, scale)?);
    rows.push(soon::measure(&site, scale)?);
    drop(site);
    rows.push(files::measure(&Site::new(bed, "files")?, scale)?);
    rows.push(subscriber::measure(&Site::new(bed, "subscriber")?, scale)?);
    rows.extend(takeover::measure(&Site::new(bed, "takeover")?)?);
    Ok(rows)
}

/// PostgreSQL as a service has it.
fn store(site: &Site<'_>) -> anyhow::Result<Store> {
    let url = Secret::new(&site.scope.database_url);
    let config = PostgresConfig { url, pooler: Pooler::None, max_connections: 10, timeout: Duration::from_secs(5) };
    let _runtime = site.bed.runtime.enter();
    Store::open(&config, "bench")
}

/// Makes videos whose files are ready; returns their ids.
fn videos(site: &Site<'_>, count: usize) -> anyhow::Result<Vec<String>> {
    let made = site.sql(&format!(
        "WITH made AS (
           INSERT INTO videos (id, title, duration_ms, revision, ready_revision, version)
           SELECT gen_random_uuid(), 'A video with a title', 5400000, 1, 1, 1 FROM generate_series(1, {count})
           RETURNING id::text),
         numbered AS (INSERT INTO sequences (aggregate, last) SELECT id, 1 FROM made)
         SELECT string_agg(id, ',') FROM made"
    ))?;
    let made: Vec<_> = made.split(',').map(str::to_owned).collect();
    ensure!(made.len() == count, "{} of {count} videos", made.len());
    Ok(made)
}

/// The body of `POST /placements`.
fn placement(video: &str, number: usize) -> String {
    let start = number % 5_000 * 1_000;
    let end = start + 900;
    format!(
        r#"{{"videoId":"{video}","productId":"product-{}","startMs":{start},"endMs":{end},"label":"a label"}}"#,
        number % 100
    )
}

/// Runs something at this many a second for this time, each in a task of its own; returns what they returned.
async fn at_rate<T, F>(rate: u32, time: Duration, mut run: impl FnMut(usize) -> F) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let mut every = tokio::time::interval(Duration::from_secs(1) / rate);
    let (began, mut running) = (Instant::now(), JoinSet::new());
    while began.elapsed() < time {
        every.tick().await;
        running.spawn(run(running.len()));
    }
    let mut all = Vec::with_capacity(running.len());
    while let Some(one) = running.join_next().await {
        all.push(one??);
    }
    Ok(all)
}
