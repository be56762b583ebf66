//! How soon the files of a video are ready after a command has committed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use devstack::asked;
use shared::kafka::Cause;
use shared::placements::NewPlacement;
use shared::placements::queries::commands::{Call, Done, Outcome, create_placement};
use shared::store::Store;
use shared::store::idempotency::StoredAnswer;
use shared::store::outbox::doorbell::Doorbell;
use time::OffsetDateTime;

use super::{at_rate, placement, store, videos};
use crate::Scale;
use crate::bed::{self, Site};
use crate::load::{Latency, long_enough};
use crate::report::{Bound, Figure};
use crate::rounds::Series;

/// Commands a second.
const RATE: u32 = 200;
/// Until connections are open, and the relay holds its lease.
const WARM: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn measure(site: &Site<'_>, scale: &Scale) -> anyhow::Result<Figure> {
    let worker = site.worker(&[("WORKER_ONLY", "outbox-relay,files")])?;
    let store = store(site)?;
    let time = long_enough(3 * scale.turn(), RATE);
    site.bed.runtime.block_on(place(site, &store, WARM))?;
    let began = site.sql("SELECT now()")?;
    let placed = site.bed.runtime.block_on(place(site, &store, time))?;
    let unfinished = "SELECT EXISTS (SELECT FROM videos WHERE ready_revision < revision)";
    let are_ready = || Ok((site.sql(unfinished)? == "f").then_some(()));
    asked(TIMEOUT, Duration::from_millis(200), are_ready)?.context("files are not made")?;
    bed::end(&worker)?;
    site.bed.runtime.block_on(store.close());
    // Each video got one placement, so that its files have been written once.
    let [count, p50, p99, p999] = site.numbers(&format!(
        "SELECT count(*), 1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY took),
                1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY took),
                1000 * percentile_cont(0.999) WITHIN GROUP (ORDER BY took)
         FROM (SELECT extract(epoch FROM pg_xact_commit_timestamp(f.xmin) - pg_xact_commit_timestamp(p.xmin)) AS took
               FROM placements AS p JOIN files AS f ON f.video_id = p.video_id AND f.kind = 'json'
               WHERE p.created_at >= '{began}') AS files"
    ))?;
    ensure!(count == crate::report::as_f64(placed), "{count} files for {placed} commands");
    let took = Latency { samples: u64::try_from(placed)?, p50, p99, p999 };
    Ok(Figure {
        bound: Some(Bound::Below(250.0)),
        latencies: vec![(format!("a command's commit to that of its video's files, at {RATE}/s"), took)],
        ..Figure::new("commit to file, p99", "ms", Series::once(p99))
    })
}

/// Places a product into a video at the rate, each time into another one; returns how often.
async fn place(site: &Site<'_>, store: &Store, time: Duration) -> anyhow::Result<usize> {
    let most = usize::try_from(time.as_secs() + 1)? * usize::try_from(RATE)?;
    let mut videos = videos(site, most)?.into_iter();
    let doorbell = Doorbell::new(store.clone());
    let rings = doorbell.clone();
    let ringing = tokio::spawn(async move { rings.run().await });
    let placed = at_rate(RATE, time, |number| {
        let (video, store, doorbell) = (videos.next(), store.clone(), doorbell.clone());
        async move {
            let body = placement(&video.context("a video")?, number);
            let new = NewPlacement::parse(&Bytes::from(body)).ok().context("a placement")?;
            let call = Call { key: None, cause: Cause::default(), now: OffsetDateTime::now_utc() };
            let answer = |_: &Outcome| StoredAnswer { status: 201, headers: Vec::new(), body: String::new() };
            let decided = create_placement(&store, &call, new, &answer).await?;
            ensure!(matches!(decided, Done::Decided { outcome: Ok(_), .. }), "a command was refused");
            doorbell.ring();
            Ok(())
        }
    });
    let placed = placed.await?.len();
    ringing.abort();
    Ok(placed)
}
