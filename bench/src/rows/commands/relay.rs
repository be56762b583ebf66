//! The relay on a full outbox, against the same statements and a bare producer; and while a snapshot is held.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use devstack::{asked, psql, read_topic};
use rdkafka::Message as _;
use shared::store::outbox::relay::{Offsets, hold, published, read, release};

use super::{RELAY, store};
use crate::Scale;
use crate::bed::{self, Site};
use crate::records::{Bare, Ready};
use crate::report::{Figure, as_f64};
use crate::rows::take_turns;

const AGGREGATES: usize = 1_000;
const BATCH: u32 = 1_000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(120);
/// What keeps a snapshot for longer than any turn.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox; SELECT pg_sleep(3600)";

pub(super) fn measure(site: &Site<'_>, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let bare = Bare::to(site, &site.scope.domain_topic)?;
    // Each round reads the whole topic, so that it stays small.
    let (events, mut turns) = (scale.worker_events.min(100_000), 0);
    let [figure, ceiling, held] = take_turns(scale.rounds.min(4), ["relay", "bare", "held"], |turn| {
        turns += 1;
        let tag = format!("t{turns}");
        match turn {
            0 => drain(site, &tag, events),
            1 => drain_bare(site, &bare, &tag, events),
            _ => {
                let snapshot = Snapshot::hold(site)?;
                // The dead rows of a drain before.
                drain(site, &format!("before-{tag}"), events)?;
                let rate = drain(site, &tag, events)?;
                snapshot.end(site)?;
                Ok(rate)
            }
        }
    })?;
    let notes = vec![format!("{events} events a round, {AGGREGATES} aggregates")];
    let ceilings = vec![("the same SELECT and DELETE, and a bare producer", ceiling)];
    let relay = Figure { notes, ..Figure::new("relay", "events/s", figure.clone()) };
    let beside = Figure {
        notes: vec![format!("the snapshot is older than {} events", 2 * events)],
        ..Figure::new("relay, a snapshot is held", "events/s", held)
    };
    Ok(vec![relay.against(ceilings, 0.50), beside.against(vec![("without one", figure)], 0.70)])
}

/// Writes events as commands do.
fn fill(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<()> {
    site.sql(&format!(
        r#"INSERT INTO outbox (event_id, aggregate, sequence, type, attributes, data)
           SELECT gen_random_uuid(), '{tag}-' || n % {AGGREGATES}, n / {AGGREGATES} + 1, 'com.nedlia.video.updated',
             jsonb_build_object('source', '/placements', 'subject', '{tag}-' || n % {AGGREGATES},
               'time', '2026-01-01T00:00:00.000000Z', 'acceptedat', '2026-01-01T00:00:00.000000Z',
               'dataschema', '/schemas/com.nedlia.video.updated/1', 'correlationid', gen_random_uuid(),
               'requestid', gen_random_uuid(), 'userid', 'bench'),
             json_build_object('videoId', gen_random_uuid(), 'title', 'A video with a title', 'durationMs', 5400000,
               'revision', n / {AGGREGATES} + 1)
           FROM generate_series(0, {events} - 1) AS n ORDER BY n"#
    ))?;
    site.sql("CHECKPOINT").map(drop)
}

/// Drains a full outbox with the relay; returns its rate.
fn drain(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<f64> {
    fill(site, tag, events)?;
    let worker = site.worker(&[RELAY])?;
    let is_empty = || Ok((site.sql("SELECT EXISTS (SELECT FROM outbox)")? == "f").then_some(()));
    asked(TIMEOUT, Duration::from_millis(200), is_empty)?.context("the outbox is not drained")?;
    bed::end(&worker)?;
    rate(site, tag, events)
}

/// Events a second between the first append and the last, by Kafka's timestamps.
fn rate(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<f64> {
    let (tag, scope) = (format!("{tag}-"), &site.scope);
    let appended = read_topic(&scope.endpoints.kafka_brokers, &scope.domain_topic, |record| {
        let is_ours = record.key().is_some_and(|key| key.starts_with(tag.as_bytes()));
        record.timestamp().to_millis().filter(|_| is_ours)
    })?;
    let appended: Vec<i64> = appended.into_iter().flatten().collect();
    ensure!(appended.len() == events, "{} of {events} events are in the topic", appended.len());
    let (first, last) = (appended.iter().min().context("no event")?, appended.iter().max().context("no event")?);
    let after_first = appended.iter().filter(|at| *at > first).count();
    ensure!(after_first > 0, "all events have the same timestamp");
    let seconds = Duration::from_millis(last.abs_diff(*first)).as_secs_f64();
    Ok(as_f64(after_first) / seconds)
}

/// Drains a full outbox without transactions, fencing and order of numbers.
fn drain_bare(site: &Site<'_>, bare: &Bare, tag: &str, events: usize) -> anyhow::Result<f64> {
    fill(site, tag, events)?;
    let store = store(site)?;
    let began = site.bed.runtime.block_on(async {
        hold(&store, "bench", TIMEOUT).await?.context("a relay runs")?;
        let (began, mut after) = (Instant::now(), 0);
        loop {
            let rows = read(&store, after, BATCH, BATCH_BYTES).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in &rows {
                bare.send(&Ready::of_outbox(row), None)?;
            }
            bare.settle()?;
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            ensure!(published(&store, "bench", &ids, &Offsets::new()).await?, "the lease is lost");
        }
        release(&store, "bench").await?;
        anyhow::Ok(began)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    site.bed.runtime.block_on(store.close());
    Ok(as_f64(events) / seconds)
}

/// An old snapshot, which keeps PostgreSQL from removing dead rows.
struct Snapshot(JoinHandle<anyhow::Result<String>>);

impl Snapshot {
    fn hold(site: &Site<'_>) -> anyhow::Result<Self> {
        let url = site.scope.database_url.clone();
        let held = Self(std::thread::spawn(move || psql(&url, SNAPSHOT)));
        let count = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'PgSleep' AND backend_xmin IS NOT NULL";
        let is_held = || Ok((site.sql(count)? == "1").then_some(()));
        asked(TIMEOUT, Duration::from_millis(50), is_held)?.context("no snapshot is held")?;
        Ok(held)
    }

    fn end(self, site: &Site<'_>) -> anyhow::Result<()> {
        site.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'PgSleep'",
        )?;
        // It fails, because it is terminated.
        let _ = self.0.join();
        Ok(())
    }
}
