//! A subscriber that does hardly anything, on a preloaded topic, against its statements on events from memory.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use devstack::until_caught_up;
use shared::kafka::position::Position;
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;
use shared::kafka::{Delivery, Envelope};
use shared::placements::{PlacementEventType, VideoId};
use shared::store::outbox::relay::OutboxRow;
use shared::store::{Failure, Store, Tx, Work, inbox};
use time::OffsetDateTime;

use super::store;
use crate::Scale;
use crate::bed::{self, Site};
use crate::records::{Bare, Ready};
use crate::report::{Figure, as_f64};
use crate::rows::take_turns;

const VIDEOS: usize = 1_000;
const PARTITIONS: usize = DEFAULT_PARTITIONS as usize;
const BATCH: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(300);

pub(super) fn measure(site: &Site<'_>, scale: &Scale) -> anyhow::Result<Figure> {
    let (bare, store) = (Bare::to(site, &site.scope.domain_topic)?, store(site)?);
    let videos: Vec<_> = (0..VIDEOS).map(|_| VideoId::generate()).collect();
    let (events, mut turns) = (scale.worker_events, 0);
    let [figure, ceiling] = take_turns(scale.rounds.min(4), ["subscriber", "statements"], |turn| {
        turns += 1;
        let tag = format!("t{turns}");
        if turn == 1 {
            return take(site, &store, &videos, &tag, events);
        }
        for number in 0..events {
            bare.send(&Ready::of_outbox(&row(&videos, &tag, number)?), Some(i32::try_from(partition(number))?))?;
        }
        bare.settle()?;
        site.sql("CHECKPOINT")?;
        let (worker, scope) = (site.worker(&[("WORKER_ONLY", "read-model")])?, &site.scope);
        until_caught_up(&scope.endpoints.kafka_brokers, &scope.domain_topic, &scope.read_model_group, TIMEOUT)?;
        bed::end(&worker)?;
        rate(site, &tag, events)
    })?;
    site.bed.runtime.block_on(store.close());
    let row = Figure {
        notes: vec![format!("{events} events a round, {VIDEOS} videos; the subscriber fences the cache, too")],
        ..Figure::new("subscriber, topic preloaded", "events/s", figure)
    };
    Ok(row.against(vec![("its statements on events from memory", ceiling)], 0.70))
}

fn event_id(tag: &str, number: usize) -> String {
    format!("{tag}-{number}")
}

/// The partition of an event, for both: as many events in each, and all events of a video in one.
fn partition(number: usize) -> usize {
    number % VIDEOS % PARTITIONS
}

/// A change of a video.
fn row(videos: &[VideoId], tag: &str, number: usize) -> anyhow::Result<OutboxRow> {
    let video = videos.get(number % VIDEOS).context("a video")?;
    let now = "2026-01-01T00:00:00.000000Z".to_owned();
    let attributes = [
        ("source", "/placements".to_owned()),
        ("subject", video.to_string()),
        ("time", now.clone()),
        ("acceptedat", now),
    ];
    Ok(OutboxRow {
        id: 0,
        event_id: event_id(tag, number),
        aggregate: video.to_string(),
        sequence: i64::try_from(number / VIDEOS + 1)?,
        event_type: PlacementEventType::VideoUpdated.as_str().to_owned(),
        attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        data: format!(r#"{{"videoId":"{video}","title":"A video with a title","durationMs":5400000,"revision":1}}"#),
        written_at: OffsetDateTime::now_utc(),
    })
}

/// A batch that a subscriber takes.
struct Taken<'a>(&'a [Delivery<()>]);

impl Work for Taken<'_> {
    type Output = usize;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<usize, Failure> {
        let new = inbox::admit(tx, "bench", &self.0.iter().collect::<Vec<_>>()).await?;
        Ok(new.into_iter().filter(|new| *new).count())
    }
}

/// Takes events from memory, with as many concurrent batches as the topic has partitions.
fn take(site: &Site<'_>, store: &Store, videos: &[VideoId], tag: &str, events: usize) -> anyhow::Result<f64> {
    let mut partitions: Vec<Vec<Delivery<()>>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for number in 0..events {
        let place = partition(number);
        let row = row(videos, tag, number)?;
        let (key, now) = (videos.get(number % VIDEOS).context("a video")?.key(), row.written_at);
        let event_type = PlacementEventType::VideoUpdated.as_str();
        let envelope = Envelope::new(event_type, key, row.event_id.parse()?, now, Bytes::from(row.data));
        let envelope = Envelope { sequence: Some(row.sequence), ..envelope };
        let position = Position::new("bench", i32::try_from(place)?, i64::try_from(number)?, now);
        partitions.get_mut(place).context("a partition")?.push(Delivery { envelope, position, event: () });
    }
    site.sql("CHECKPOINT")?;
    site.bed.runtime.block_on(async {
        let mut lanes = tokio::task::JoinSet::new();
        for partition in partitions {
            let store = store.clone();
            lanes.spawn(async move {
                for batch in partition.chunks(BATCH) {
                    let new = store.transact("", &Taken(batch)).await?;
                    ensure!(new == batch.len(), "only {new} of {} are new", batch.len());
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

/// Events a second between the first commit and the last, by PostgreSQL's commit timestamps.
fn rate(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<f64> {
    let [all, after_first, seconds] = site.numbers(&format!(
        "WITH committed AS MATERIALIZED (
           SELECT pg_xact_commit_timestamp(xmin) AS at FROM inbox WHERE event_id LIKE '{tag}-%')
         SELECT count(*), count(*) FILTER (WHERE at > (SELECT min(at) FROM committed)),
                extract(epoch FROM max(at) - min(at)) FROM committed"
    ))?;
    ensure!(all == as_f64(events) && seconds > 0.0, "{all} of {events} events in {seconds} s");
    Ok(after_first / seconds)
}
