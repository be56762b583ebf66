//! The worker on a preloaded topic, against the same statements on rows from memory.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use devstack::Service;
use shared::devices::DeviceDelivery;
use shared::devices::queries;
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;
use shared::store::Store;
use shared::store::{Pooler, PostgresConfig};

use crate::Scale;
use crate::bed::{self, Bed, Site};
use crate::records::{self, Bare};
use crate::report::Figure;
use crate::rows::take_turns;
use crate::usage::{Meter, Usage};

const DEVICES: usize = 10_000;
const PARTITIONS: usize = DEFAULT_PARTITIONS as usize;
const BATCH: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn measure(bed: &Bed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "worker")?;
    let bare = Bare::new(&site)?;
    let store = store(&site)?;
    let mut usages = Vec::new();
    let (mut drained, mut applied) = (0, 0);
    let events = scale.worker_events;
    let [figure, ceiling] = take_turns(
        // Each takes longer than the turns of other rows.
        scale.rounds.min(4),
        ["worker", "statements"],
        [
            &mut || {
                drained += 1;
                let (rate, used) = drain(&site, &bare, events, DEVICES, &format!("drain{drained}"))?;
                usages = used;
                Ok(rate)
            },
            &mut || {
                applied += 1;
                apply(&site, &store, events, DEVICES, &format!("apply{applied}"))
            },
        ],
    )?;
    bed.runtime.block_on(store.close());
    let row = Figure {
        name: "worker, topic preloaded".into(),
        unit: "events/s",
        figure,
        usages,
        notes: vec![format!("{events} events a round, {DEVICES} devices, fresh ids")],
        ..Figure::default()
    };
    Ok(vec![row.against(vec![("the same statements on rows from memory", ceiling)], 0.70)])
}

pub(crate) fn store(site: &Site<'_>) -> anyhow::Result<Store> {
    let url = site.scope.database_url.parse()?;
    let config = PostgresConfig { url, pooler: Pooler::None, max_connections: 10, timeout: Duration::from_secs(5) };
    let _runtime = site.bed.runtime.enter();
    Store::open(&config, "bench")
}

/// Fills the topic, lets a worker drain it, and gives its rate.
pub(crate) fn drain(
    site: &Site<'_>,
    bare: &Bare,
    events: usize,
    devices: usize,
    tag: &str,
) -> anyhow::Result<(f64, Vec<Usage>)> {
    bare.fill((0..events).map(|n| records::event(n, devices, tag)), None)?;
    drain_filled(site, events, tag)
}

/// Lets a worker drain what is in the topic, and gives its rate over the events of that tag.
pub(crate) fn drain_filled(site: &Site<'_>, events: usize, tag: &str) -> anyhow::Result<(f64, Vec<Usage>)> {
    drain_filled_with(site, &[], events, tag)
}

pub(crate) fn drain_filled_with(
    site: &Site<'_>,
    settings: &[(&str, &str)],
    events: usize,
    tag: &str,
) -> anyhow::Result<(f64, Vec<Usage>)> {
    site.sql("CHECKPOINT")?;
    let mut meters = site.bed.meters();
    let worker: Service = site.worker_with(settings)?;
    meters.push(Meter::start("worker-service", worker.pid()));
    site.until_caught_up(PATIENCE)?;
    let usages = meters.iter().map(Meter::read).collect();
    bed::end(&worker)?;
    Ok((rate(site, tag, events)?, usages))
}

/// Applies events from memory, as many batches at a time as the topic has partitions.
pub(crate) fn apply(site: &Site<'_>, store: &Store, events: usize, devices: usize, tag: &str) -> anyhow::Result<f64> {
    let mut partitions: Vec<Vec<DeviceDelivery>> =
        (0..PARTITIONS).map(|_| Vec::with_capacity(events / PARTITIONS + 1)).collect();
    for number in 0..events {
        // A device is in one partition.
        let place = number % devices % PARTITIONS;
        let partition = partitions.get_mut(place).context("a partition")?;
        partition.push(records::decoded(number, devices, i32::try_from(place)?, tag)?);
    }
    site.sql("CHECKPOINT")?;
    site.bed.runtime.block_on(async {
        let mut lanes = tokio::task::JoinSet::new();
        for partition in partitions {
            let store = store.clone();
            lanes.spawn(async move {
                for batch in partition.chunks(BATCH) {
                    queries::apply_batch(&store, &batch.iter().collect::<Vec<_>>()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane??;
        }
        anyhow::Ok(())
    })?;
    rate(site, tag, events)
}

/// Events a second between the first commit and the last, as PostgreSQL noted them.
pub(crate) fn rate(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<f64> {
    let found = site.numbers(&format!(
        // The first commit by a subquery of its own, which is asked once: joined to, a planner without
        // statistics may ask it anew for each row.
        "WITH committed AS MATERIALIZED (
           SELECT pg_xact_commit_timestamp(xmin) AS at FROM events
           WHERE request_id = '{tag}' AND recorded_at > now() - interval '1 hour')
         SELECT count(*), count(*) FILTER (WHERE at > (SELECT min(at) FROM committed)),
                extract(epoch FROM max(at) - min(at)) FROM committed"
    ))?;
    let [all, after_first, seconds] = found[..] else { anyhow::bail!("not three numbers: {found:?}") };
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let expected = events as f64;
    ensure!(all == expected && seconds > 0.0, "{all} of {events} events in {seconds} s");
    Ok(after_first / seconds)
}
