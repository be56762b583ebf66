//! What the log and the stores hold of placements.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use devstack::psql;

use super::ads::{micros, rows};
use super::{QUIET, header, read, text, until_committed};
use crate::history::placements::{DomainLetter, DomainRecord, LeftBehind, Number, Object, PlacementsEnd, SavedVideo};
use crate::world::World;

/// What the types of all events begin with.
const PREFIX: &str = "com.nedlia.";

/// The names and the groups of the subscribers.
fn groups(world: &World) -> [(&'static str, &str); 3] {
    let scope = &world.scope;
    [("read-model", &scope.read_model_group), ("files", &scope.files_group), ("validator", &scope.validator_group)]
}

/// Waits until everything is published and taken, and led to nothing more: subscribers publish, too. Returns what is left
/// where nothing moves any more; the checker tells of it. Blocks.
pub(super) fn until_taken(world: &World) -> anyhow::Result<Vec<LeftBehind>> {
    loop {
        until_published(world)?;
        let mut left = Vec::new();
        for (subscriber, group) in groups(world) {
            let behind = until_committed(world, &world.scope.domain_topic, group)?;
            left.extend(behind.into_iter().map(|(partition, (committed, end))| LeftBehind {
                subscriber: subscriber.to_owned(),
                partition,
                committed,
                end,
            }));
        }
        // Whoever took the last event has published what follows from it in the same transaction.
        let mut behind = false;
        for (_, group) in groups(world) {
            let all = devstack::committed(&world.scope.endpoints.kafka_brokers, &world.scope.domain_topic, group)?;
            behind |= all.values().any(|(committed, end)| committed < end);
        }
        if !left.is_empty() || !behind && waiting(world)? == 0 {
            return Ok(left);
        }
    }
}

fn waiting(world: &World) -> anyhow::Result<i64> {
    Ok(psql(&world.scope.database_url, "SELECT count(*) FROM outbox")?.parse()?)
}

/// Waits until the outbox is empty, or its first row stays.
fn until_published(world: &World) -> anyhow::Result<()> {
    let mut moved = (String::new(), Instant::now());
    loop {
        let first = psql(&world.scope.database_url, "SELECT coalesce(min(id), 0) FROM outbox")?;
        if first == "0" || first == moved.0 && moved.1.elapsed() > QUIET {
            return Ok(());
        }
        if first != moved.0 {
            moved = (first, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The last number of each aggregate.
pub fn numbers(world: &World) -> anyhow::Result<Vec<Number>> {
    rows(world, "SELECT aggregate, last FROM sequences WHERE last > 0")
}

/// The videos in the tables of a schema.
pub fn saved_videos(world: &World, schema: &str) -> anyhow::Result<Vec<SavedVideo>> {
    rows(world, &format!("SELECT id, revision, ready_revision, version FROM {schema}.videos"))
}

/// Reads everything directly from the servers.
pub(super) fn gather(world: &World, left: Vec<LeftBehind>) -> anyhow::Result<PlacementsEnd> {
    let placements =
        "SELECT id, video_id AS video, product_id AS product, campaign_id AS campaign, start_ms, end_ms, layer,
        region, label, version, deleted_at IS NOT NULL AS deleted FROM placements";
    let validations = format!(
        "SELECT id, video_id AS video, status, revision, version, findings, {} AS requested, {} AS finished FROM validations",
        micros("requested_at"),
        micros("finished_at")
    );
    let inbox = format!(
        "SELECT subscriber, event_id AS event, aggregate, sequence, {} AS taken FROM inbox",
        micros("taken_at")
    );
    let files = "SELECT video_id AS video, kind, revision, encode(sha256, 'hex') AS sha256, bytes FROM files";
    let mut end = PlacementsEnd {
        videos: rows(
            world,
            "SELECT id, title, duration_ms, frame_rate, revision, ready_revision, version, placements FROM videos",
        )?,
        placements: rows(world, placements)?,
        products: rows(world, "SELECT id, active FROM products")?,
        validations: rows(world, &validations)?,
        files: rows(world, files)?,
        objects: Vec::new(),
        campaigns: rows(world, "SELECT id AS campaign, status, sequence FROM placement_campaigns")?,
        numbers: numbers(world)?,
        outbox: rows(world, "SELECT event_id AS event, aggregate, sequence FROM outbox")?,
        inbox: rows(world, &inbox)?,
        records: records(world)?,
        letters: letters(world)?,
        left,
    };
    for file in &end.files {
        end.objects.extend(object(&world.files, &file.sha256)?);
    }
    Ok(end)
}

/// The object with this name, if the folder has it.
fn object(folder: &Path, name: &str) -> anyhow::Result<Option<Object>> {
    let (start, rest) = name.split_at_checked(2).with_context(|| format!("an object's name is {name:?}"))?;
    match std::fs::read(folder.join(start).join(rest)) {
        Ok(content) => Ok(Some(Object { sha256: name.to_owned(), content: text(Some(&content)) })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn records(world: &World) -> anyhow::Result<Vec<DomainRecord>> {
    read(world, &world.scope.domain_topic, |message| {
        let kind = header(message, "ce_type").unwrap_or_default();
        let value = text(message.value().as_deref());
        Ok(DomainRecord {
            partition: message.partition,
            offset: message.offset,
            key: text(message.key()),
            id: header(message, "ce_id").unwrap_or_default(),
            kind: kind.strip_prefix(PREFIX).unwrap_or(&kind).to_owned(),
            sequence: header(message, "ce_sequence").and_then(|number| number.parse().ok()),
            correlation: header(message, "ce_correlationid"),
            causation: header(message, "ce_causationid"),
            redriven: message.header("redrive.group").is_some(),
            data: serde_json::from_str(&value).with_context(|| format!("a record's value is {value:?}"))?,
        })
    })
}

fn letters(world: &World) -> anyhow::Result<Vec<DomainLetter>> {
    read(world, &world.scope.domain_dlq_topic, |message| {
        let named = |name: &str| header(message, name).unwrap_or_default();
        Ok(DomainLetter {
            key: text(message.key()),
            id: named("ce_id"),
            group: named("dlq.group"),
            reason: named("dlq.reason"),
            error: named("dlq.error"),
        })
    })
}
