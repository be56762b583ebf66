//! The worker on a preloaded topic, against the same statements on rows from memory, and against those of a baseline.

mod baseline;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use shared::devices::{DeviceDelivery, queries};
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;
use shared::runtime::config::Secret;
use shared::store::{Pooler, PostgresConfig, Store};

use self::baseline::Baseline;
use crate::Scale;
use crate::bed::{self, Site, TestBed};
use crate::records::{self, Bare};
use crate::report::{Figure, as_f64};
use crate::rows::take_turns;
use crate::usage::{Meter, Usage};

const DEVICES: usize = 10_000;
const PARTITIONS: usize = DEFAULT_PARTITIONS as usize;
const BATCH: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(300);

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "worker")?;
    let bare = Bare::new(&site)?;
    let url = Secret::new(&site.scope.database_url);
    let config = PostgresConfig { url, pooler: Pooler::None, max_connections: 10, timeout: Duration::from_secs(5) };
    let store = {
        let _runtime = bed.runtime.enter();
        Store::open(&config, "bench")?
    };
    let baseline = Baseline::connect(&site)?;
    let (events, mut turns, mut usages) = (scale.worker_events, 0, Vec::new());
    // At most four rounds: each takes longer than in other rows.
    let names = ["worker", "statements", "baseline"];
    let [figure, ceiling, of_baseline] = take_turns(scale.rounds.min(4), names, |turn| {
        turns += 1;
        let tag = format!("worker{turns}");
        match turn {
            0 => {
                bare.fill((0..events).map(|n| records::event(n, DEVICES, &tag)), None)?;
                let (rate, used) = drain_filled(&site, &[], events, &tag)?;
                usages = used;
                Ok(rate)
            }
            1 => apply(&site, &Statements::Current(store.clone()), events, &tag),
            _ => apply(&site, &Statements::Baseline(baseline.clone()), events, &tag),
        }
    })?;
    bed.runtime.block_on(async {
        store.close().await;
        baseline.close().await;
    });
    let memory = Figure::memory("all partitions drain", "worker-service", &usages, [128.0, 64.0]);
    let row = Figure {
        usages,
        notes: vec![format!("{events} events a round, {DEVICES} devices, fresh ids")],
        ..Figure::new("worker, topic preloaded", "events/s", figure.clone())
    };
    let over_baseline = Figure::new("worker, over the baseline's statements", "events/s", figure);
    Ok(vec![
        row.against(vec![("the same statements on rows from memory", ceiling)], 0.70),
        over_baseline.against(vec![(baseline::WHAT, of_baseline)], 1.10).goal(1.50),
        memory,
    ])
}

/// Whose statements a ceiling runs.
#[derive(Clone)]
enum Statements {
    Current(Store),
    Baseline(Baseline),
}

impl Statements {
    async fn apply(&self, batch: &[&DeviceDelivery]) -> anyhow::Result<()> {
        match self {
            Self::Current(store) => Ok(queries::apply_batch(store, batch).await.map(drop)?),
            Self::Baseline(baseline) => baseline.apply(batch).await,
        }
    }

    fn events(&self) -> &'static str {
        match self {
            Self::Current(_) => "events",
            Self::Baseline(_) => baseline::EVENTS,
        }
    }
}

/// Runs a worker with these settings until it has drained the topic; returns its rate over the events of that tag.
pub(crate) fn drain_filled(
    site: &Site<'_>,
    settings: &[(&str, &str)],
    events: usize,
    tag: &str,
) -> anyhow::Result<(f64, Vec<Usage>)> {
    site.sql("CHECKPOINT")?;
    let worker = site.worker(settings)?;
    let meters = site.bed.meters(&[&worker]);
    site.until_caught_up(TIMEOUT)?;
    let usages = meters.iter().map(Meter::read).collect();
    bed::end(&worker)?;
    Ok((rate(site, tag, events)?, usages))
}

/// Applies events from memory, with as many concurrent batches as the topic has partitions.
fn apply(site: &Site<'_>, statements: &Statements, events: usize, tag: &str) -> anyhow::Result<f64> {
    let mut partitions: Vec<Vec<DeviceDelivery>> =
        (0..PARTITIONS).map(|_| Vec::with_capacity(events / PARTITIONS + 1)).collect();
    for number in 0..events {
        // All events of a device are in one partition.
        let place = number % DEVICES % PARTITIONS;
        let partition = partitions.get_mut(place).context("a partition")?;
        partition.push(records::decoded(number, DEVICES, i32::try_from(place)?, tag)?);
    }
    site.sql("CHECKPOINT")?;
    site.bed.runtime.block_on(async {
        let mut lanes = tokio::task::JoinSet::new();
        for partition in partitions {
            let statements = statements.clone();
            lanes.spawn(async move {
                for batch in partition.chunks(BATCH) {
                    statements.apply(&batch.iter().collect::<Vec<_>>()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane??;
        }
        anyhow::Ok(())
    })?;
    rate_in(site, statements.events(), tag, events)
}

/// Events a second between the first commit and the last, by PostgreSQL's commit timestamps.
pub(crate) fn rate(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<f64> {
    rate_in(site, "events", tag, events)
}

/// The same for events in another table.
pub(crate) fn rate_in(site: &Site<'_>, table: &str, tag: &str, events: usize) -> anyhow::Result<f64> {
    let [all, after_first, seconds] = site.numbers(&format!(
        // The first commit is a scalar subquery, which runs once: in a join, a planner without statistics may
        // run it again for each row.
        "WITH committed AS MATERIALIZED (
           SELECT pg_xact_commit_timestamp(xmin) AS at FROM {table}
           WHERE request_id = '{tag}' AND recorded_at > now() - interval '1 hour')
         SELECT count(*), count(*) FILTER (WHERE at > (SELECT min(at) FROM committed)),
                extract(epoch FROM max(at) - min(at)) FROM committed"
    ))?;
    ensure!(all == as_f64(events) && seconds > 0.0, "{all} of {events} events in {seconds} s");
    Ok(after_first / seconds)
}
