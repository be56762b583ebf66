//! `POST /placements` against the transaction that it runs, with as many connections to PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use shared::kafka::Cause;
use shared::placements::NewPlacement;
use shared::placements::queries::commands::{Call, Done, Outcome, create_placement};
use shared::store::Store;
use shared::store::idempotency::StoredAnswer;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::{placement, store, videos};
use crate::Scale;
use crate::bed::Site;
use crate::load::Load;
use crate::records;
use crate::report::{Figure, as_f64};
use crate::rounds::Turn;
use crate::rows::{saturate, take_turns};

const CONNECTIONS: u32 = 64;
/// So many that commands hardly ever wait for another one of their video, and no video gets too many placements.
const VIDEOS: usize = 2_000;

pub(super) fn measure(site: &Site<'_>, scale: &Scale) -> anyhow::Result<Figure> {
    let bodies: Vec<_> = videos(site, VIDEOS)?.iter().enumerate().map(|(n, video)| placement(video, n)).collect();
    let lines = records::lines(&site.bed.folder, "placements", bodies.iter().cloned())?;
    let parsed = bodies.into_iter().map(|body| NewPlacement::parse(&Bytes::from(body)).ok().context("a placement"));
    let parsed: Arc<[NewPlacement]> = parsed.collect::<anyhow::Result<Vec<_>>>()?.into();
    let (api, store) = (site.api(&[])?, store(site)?);
    let load = Load::posts(&api.url, "/placements", &lines, &site.bed.token, CONNECTIONS);
    let mut last = None;
    let [figure, ceiling] = take_turns(scale.rounds, ["api", "transaction"], |turn| {
        if turn == 1 {
            let rate = site.bed.runtime.block_on(transactions(&store, &parsed, Instant::now() + scale.turn()))?;
            return Ok(Turn::from(rate));
        }
        let (outcome, usages) = saturate(site.bed, &api, &load, scale.turn())?;
        last = Some((outcome.latency, usages));
        Ok(outcome.into())
    })?;
    site.bed.runtime.block_on(store.close());
    let (latency, usages) = last.unzip();
    let row = Figure {
        latencies: latency.map(|latency| ("saturated (closed loop)".to_owned(), latency)).into_iter().collect(),
        usages: usages.unwrap_or_default(),
        notes: vec![format!(
            "{CONNECTIONS} callers, {VIDEOS} videos, 10 connections to PostgreSQL; nothing is published"
        )],
        ..Figure::new("POST /placements", "requests/s", figure)
    };
    Ok(row.against(vec![("its transaction alone, from memory", ceiling)], 0.60))
}

/// The commands a second that as many callers get done without HTTP, a cache and a doorbell.
async fn transactions(store: &Store, new: &Arc<[NewPlacement]>, until: Instant) -> anyhow::Result<f64> {
    let (began, next, mut callers) = (Instant::now(), Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let (store, new, next) = (store.clone(), Arc::clone(new), Arc::clone(&next));
        callers.spawn(async move {
            let answer = |_: &Outcome| StoredAnswer { status: 201, headers: Vec::new(), body: String::new() };
            let mut done = 0;
            while Instant::now() < until {
                let place = next.fetch_add(1, Ordering::Relaxed) % new.len();
                let new = new.get(place).context("a placement")?.clone();
                let call = Call { key: None, cause: Cause::default(), now: OffsetDateTime::now_utc() };
                let decided = create_placement(&store, &call, new, &answer).await?;
                ensure!(matches!(decided, Done::Decided { outcome: Ok(_), .. }), "a command was refused");
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done: usize = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(as_f64(done) / began.elapsed().as_secs_f64())
}
