//! Reads the contents of the log, the stores and the dead-letter topic once the workers are idle.

mod ads;
mod placements;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use devstack::{committed, psql, read_topic, stable_ends};
use shared::ads::{REPORT, queries as ads_queries};
use shared::devices::queries;
use shared::kafka::{Header, Record as KafkaRecord};
use shared::runtime::config::Secret;
use shared::store::{Loaded, Pooler, PostgresConfig, Store};

pub use self::ads::books;
pub use self::placements::{numbers, saved_videos};
use crate::faults::MARK;
use crate::history::ads::CachedReport;
use crate::history::placements::LeftBehind;
use crate::history::{End, Letter, Record, Resource, Row, brief, fingerprint};
use crate::world::World;

/// A partition without progress for this long is stuck: after the faults only backoffs and session timeouts can
/// delay it.
const QUIET: Duration = Duration::from_secs(120);

/// By partition: the committed offset and the end of the log.
pub type Left = BTreeMap<i32, (i64, i64)>;

/// What is left of each stream.
pub struct AllLeft {
    devices: Left,
    ads: Left,
    placements: Vec<LeftBehind>,
}

/// Waits until all groups have committed their logs; see [`until_committed`].
pub fn until_quiet(world: &World) -> anyhow::Result<AllLeft> {
    let scope = &world.scope;
    Ok(AllLeft {
        devices: until_committed(world, &scope.input_topic, &scope.group)?,
        ads: until_committed(world, &scope.ads_topic, &scope.ads_group)?,
        placements: placements::until_taken(world)?,
    })
}

/// Waits until nothing is reserved any more, but not for longer than this: the checker judges what is left. What is
/// gathered afterwards is read in several statements, and has to stay as it is meanwhile.
pub fn until_nothing_is_reserved(world: &World, most: Duration) -> anyhow::Result<()> {
    let reserved = "SELECT coalesce(sum(reserved), 0) FROM campaigns";
    let none = || Ok((psql(&world.scope.database_url, reserved)? == "0").then_some(()));
    devstack::asked(most, Duration::from_millis(200), none).map(drop)
}

/// Waits until the group has committed the whole log, however long a busy machine takes. Returns the
/// partitions that no longer make progress. Fails if one of them is behind an open transaction, because nobody can
/// judge events that cannot be read yet. Blocks.
pub fn until_committed(world: &World, topic: &str, group: &str) -> anyhow::Result<Left> {
    let scope = &world.scope;
    let mut told = Instant::now();
    let mut moved: BTreeMap<i32, (i64, Instant)> = BTreeMap::new();
    loop {
        match committed(&scope.endpoints.kafka_brokers, topic, group) {
            Ok(all) => {
                told = Instant::now();
                let left: Left = all.into_iter().filter(|(_, (committed, end))| committed < end).collect();
                moved.retain(|partition, (before, _)| left.get(partition).is_some_and(|(now, _)| now == before));
                for (partition, (committed, _)) in &left {
                    moved.entry(*partition).or_insert((*committed, told));
                }
                if left.is_empty() || moved.values().any(|(_, since)| since.elapsed() > QUIET) {
                    let stable = stable_ends(&scope.endpoints.kafka_brokers, topic)?;
                    for (partition, (committed, end)) in &left {
                        let readable = stable.get(partition).context("the partition has no end")?;
                        ensure!(
                            committed < readable,
                            "partition {partition}: all {committed} records that can be read are committed; a transaction \
                             of another producer is open, and the log ends at {end}"
                        );
                    }
                    return Ok(left);
                }
            }
            Err(error) if told.elapsed() > QUIET => return Err(error),
            Err(_) => {}
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Reads everything directly from the servers, past the services.
pub async fn gather(world: &World, store: &Store, left: AllLeft) -> anyhow::Result<End> {
    let resources = resources(world, store).await?;
    // First: without readers, the cached bodies expire.
    let reports = reports(world, store).await?;
    let cached = cached(world, "resource:", resources.keys()).await?;
    let ads = ads::gather(world, reports, left.ads)?;
    let placements = placements::gather(world, left.placements)?;
    let (log, rows, letters) = (log(world)?, rows(world)?, letters(world)?);
    Ok(End { log, rows, resources, letters, cached, left: left.devices, ads, placements })
}

fn rows(world: &World) -> anyhow::Result<Vec<Row>> {
    let text = psql(
        &world.scope.database_url,
        "SELECT device_id, event_id, xmin, outcome, partition, \"offset\", (extract(epoch FROM appended_at) * 1000)::bigint,
                payload FROM events",
    )?;
    text.lines().map(|line| row(line).with_context(|| format!("the row {line:?}"))).collect()
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.splitn(8, '|');
    Some(Row {
        device: fields.next()?.to_owned(),
        id: fields.next()?.to_owned(),
        transaction: fields.next()?.parse().ok()?,
        applied: fields.next()? == "applied",
        partition: fields.next()?.parse().ok()?,
        offset: fields.next()?.parse().ok()?,
        appended: fields.next()?.parse().ok()?,
        payload: brief(serde_json::from_str(fields.next()?).ok()?),
    })
}

async fn resources(world: &World, store: &Store) -> anyhow::Result<BTreeMap<String, Resource>> {
    let events = psql(&world.scope.database_url, "SELECT id, event_id FROM resources")?;
    let events: BTreeMap<&str, &str> = events.lines().filter_map(|line| line.split_once('|')).collect();
    let ids: Vec<_> = events.keys().map(|id| (*id).into()).collect();
    let found = queries::load(store, &ids).await?;
    let resource = |found: Loaded| {
        let event = events.get(&*found.id).copied().unwrap_or_default().to_owned();
        (found.id.to_string(), Resource { version: found.version, event, body: found.body })
    };
    Ok(found.into_iter().map(resource).collect())
}

/// The reports in the cache, and what PostgreSQL makes of them.
async fn reports(world: &World, store: &Store) -> anyhow::Result<Vec<CachedReport>> {
    let ids = psql(&world.scope.database_url, "SELECT id FROM campaigns")?;
    let ids: Vec<_> = ids.lines().map(ToOwned::to_owned).collect();
    let mut cached = cached(world, REPORT.prefix, ids.iter()).await?;
    let ids: Vec<_> = cached.keys().map(|id| id.as_str().into()).collect();
    let stored = ads_queries::load_reports(store, &ids).await?;
    let report = |found: Loaded| {
        let body = cached.remove(&*found.id)?;
        Some(CachedReport { campaign: found.id.parse().ok()?, body, stored: found.body })
    };
    Ok(stored.into_iter().filter_map(report).collect())
}

async fn cached(
    world: &World,
    prefix: &str,
    ids: impl Iterator<Item = &String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let client = redis::Client::open(world.redis().0.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut cached = BTreeMap::new();
    for id in ids {
        let key = format!("{}{prefix}{id}", world.scope.cache_prefix);
        let value: Option<String> = redis::cmd("GET").arg(key).query_async(&mut connection).await?;
        // Skip leases: only bodies are JSON objects.
        cached.extend(value.filter(|value| value.starts_with('{')).map(|value| (id.clone(), value)));
    }
    Ok(cached)
}

fn log(world: &World) -> anyhow::Result<Vec<Record>> {
    read(world, &world.scope.input_topic, |message| {
        let wire = message.header(MARK).map(|mark| text(Some(mark)));
        let id = id(message, wire.is_some());
        Ok(Record {
            device: short(text(message.key())),
            value: id.is_none().then(|| short(text(message.value().as_deref()))),
            id,
            wire,
            partition: message.partition,
            offset: message.offset,
            appended: millis(message)?,
        })
    })
}

pub fn letters(world: &World) -> anyhow::Result<Vec<Letter>> {
    read(world, &world.scope.dlq_topic, |message| {
        let own = message.original_headers();
        let wire = own.as_deref().and_then(mark);
        let print = || fingerprint(message.key(), message.value().as_deref(), own.as_deref().unwrap_or_default());
        Ok(Letter {
            key: short(text(message.key())),
            value: in_brief(text(message.value().as_deref())),
            id: id(message, wire.is_some()),
            reason: header(message, "dlq.reason").unwrap_or_default(),
            error: header(message, "dlq.error").unwrap_or_default(),
            attempts: number(message, "dlq.attempts")?,
            print: wire.is_some().then(print),
            wire,
            // A header of this name on the original record would be in `dlq.headers`.
            cut: message.header("dlq.truncated").is_some(),
            partition: number(message, "dlq.partition")?,
            offset: number(message, "dlq.offset")?,
            appended: number(message, "dlq.timestamp")?,
            died: millis(message)?,
        })
    })
}

fn read<T>(world: &World, topic: &str, each: impl Fn(&KafkaRecord) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let read = read_topic(&world.scope.endpoints.kafka_brokers, topic, |message| each(&KafkaRecord::of(message)));
    read?.into_iter().collect()
}

/// An event's id; `None` for a raw record, which is not an event whatever its headers are.
fn id(message: &KafkaRecord, is_from_the_wire: bool) -> Option<String> {
    if is_from_the_wire { None } else { header(message, "ce_id") }
}

/// The mark that a raw record carries in a header.
fn mark(own: &[Header<'_>]) -> Option<String> {
    own.iter().find(|(name, _)| *name == MARK.as_bytes()).map(|(_, value)| text(*value))
}

fn header(message: &KafkaRecord, name: &str) -> Option<String> {
    message.header(name).map(|value| text(Some(value)))
}

fn millis(message: &KafkaRecord) -> anyhow::Result<i64> {
    Ok(i64::try_from(message.timestamp.unix_timestamp_nanos() / 1_000_000)?)
}

/// A letter's value, shortened; it may be any text.
fn in_brief(value: String) -> String {
    match serde_json::from_str(&value) {
        Ok(payload) => brief(payload).to_string(),
        Err(_) => short(value),
    }
}

/// Shortens text that is not compared: a key may have a megabyte.
fn short(text: String) -> String {
    const LONGEST: usize = 1_000;
    if text.len() > LONGEST { format!("{} bytes", text.len()) } else { text }
}

fn number<T: FromStr>(message: &KafkaRecord, name: &str) -> anyhow::Result<T> {
    let number = header(message, name).and_then(|text| text.parse().ok());
    number.with_context(|| format!("a dead letter at {} without a number {name}", message.offset))
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// The store, reached past the proxies.
pub fn store(world: &World) -> anyhow::Result<Store> {
    let url = Secret::new(&world.scope.database_url);
    let config = PostgresConfig { url, pooler: Pooler::None, max_connections: 10, timeout: Duration::from_secs(5) };
    Store::open(&config, "chaos")
}
