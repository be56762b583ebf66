//! `seek`: rewinds the group after PostgreSQL was restored to an earlier time.
//!
//! It never moves the group forward: reading records again is harmless, because repeated events are recognised by their
//! rows, but skipping records would lose accepted events. Only [`past`] moves forward, past unreadable records.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::cache::{Cache, Kind, StoresConfig};
use shared::kafka::topics::settings::TopicSettings;
use shared::kafka::{self, ADMIN_TIMEOUT, KafkaConfig, PlainConsumer};
use shared::runtime::config::LogConfig;
use shared::runtime::rfc3339;
use shared::store::Store;
use time::OffsetDateTime;

use crate::dead_letters::read::{Reader, Span};
use crate::source::Source;

mod past;
mod times;

pub use self::past::Skipped;

/// A partition's committed offset before and after the move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub partition: i32,
    /// The committed offset before; `None` if nothing was committed.
    pub from: Option<i64>,
    /// The committed offset now.
    pub to: i64,
    /// The first offset that the broker still has.
    pub first: i64,
}

/// What a domain's hook may need to find out which data the restore lost.
pub struct Restored<'a> {
    pub client: &'a ClientConfig,
    /// The restored tables.
    pub store: &'a Store,
    /// The handler whose group has been rewound.
    pub source: &'a Source,
}

/// What a domain does after a restore. It may be repeated.
pub type AfterRestore = for<'a> fn(&'a Restored<'a>) -> BoxFuture<'a, anyhow::Result<()>>;

/// Rewinds the group, runs the domains' hooks, and then clears the cache: cached bodies may have versions that the
/// restored rows have not reached again yet, and no fence would replace those. An error says what was done.
pub async fn run(
    config: &SeekConfig,
    source: &Source,
    kinds: &[&'static Kind],
    hooks: &[AfterRestore],
    out: &mut impl Write,
) -> anyhow::Result<Vec<Moved>> {
    if let Some(partition) = config.partition {
        past::run(config, source, partition, out).await?;
        return Ok(Vec::new());
    }
    let client = kafka::client(&config.kafka)?;
    let cache = Cache::open(&config.stores.redis, kinds)?;
    let store = Store::open(&config.stores.postgres, "worker-service seek")?;
    if !config.dry_run {
        cache.is_there().await.context("nothing was changed: Redis does not answer")?;
        store.check().await.context("nothing was changed: PostgreSQL is not ready")?;
    }
    if config.to_time.is_some() {
        ensure_times(&client, &source.topics.input).await?;
    }
    let moved = tokio::task::spawn_blocking({
        let (client, config, source) = (client.clone(), config.clone(), source.clone());
        move || rewind(&client, &config, &source)
    });
    let moved = moved.await.map_err(shared::runtime::lifecycle::no_result)??;
    // The result is printed after everything is done, so that a closed output cannot stop it halfway.
    let cleared = if config.dry_run {
        Ok(None)
    } else {
        catch_up(&Restored { client: &client, store: &store, source }, hooks, &cache).await.map(Some)
    };
    let told = tell(out, &source.topics.input, &moved, cleared.as_ref().ok().copied());
    let cleared = cleared.context("the group is rewound, but the cache is not cleared: run the same command again")?;
    store.close().await;
    let done = if cleared.is_some() { "the group is rewound" } else { "nothing was changed" };
    told.with_context(|| format!("{done}, but the result could not be printed"))?;
    Ok(moved)
}

/// Does the rest after the rewind; returns how many cache entries were deleted.
async fn catch_up(restored: &Restored<'_>, hooks: &[AfterRestore], cache: &Cache) -> anyhow::Result<u64> {
    for hook in hooks {
        hook(restored).await.context("after the restore")?;
    }
    cache.clear().await
}

/// Prints the moved partitions and how many cache entries were deleted. `cleared` is `Some(None)` for a dry run, and
/// `None` if the cache could not be cleared, which is not printed here.
fn tell(out: &mut impl Write, topic: &str, moved: &[Moved], cleared: Option<Option<u64>>) -> io::Result<()> {
    for Moved { partition, from, to, first } in moved {
        let from = from.map_or_else(|| "none".to_owned(), |from| from.to_string());
        let gone = if to == first && *first > 0 { " (earlier records are gone from the topic)" } else { "" };
        writeln!(out, "{topic} [{partition}] {from} -> {to}{gone}")?;
    }
    match cleared {
        Some(Some(deleted)) => writeln!(out, "{deleted} cache entries deleted")?,
        Some(None) => writeln!(out, "a dry run: nothing was changed")?,
        None => {}
    }
    out.flush()
}

fn rewind(client: &ClientConfig, config: &SeekConfig, source: &Source) -> anyhow::Result<Vec<Moved>> {
    let (group, topic) = (source.group.as_str(), source.topics.input.as_str());
    let reader = Reader::open(client, topic, group)?;
    ensure_stopped(&reader.consumer, group)?;
    let moved = plan(&reader, config, topic)?;
    if config.to_time.is_some() {
        times::ensure_of_broker(client, source, &moved)?;
    }
    if !config.dry_run {
        let mut list = TopicPartitionList::new();
        for Moved { partition, to, .. } in &moved {
            list.add_partition_offset(topic, *partition, Offset::Offset(*to))?;
        }
        // This client is no member of the group, so the broker refuses the commit if a worker has joined meanwhile.
        let committed = reader.consumer.commit(&list, CommitMode::Sync);
        committed.context("nothing was changed: Kafka refused the group's offsets")?;
    }
    Ok(moved)
}

/// If producers set the timestamps, a later record may have an earlier time: starting at the first record of a given
/// time would skip some.
async fn ensure_times(client: &ClientConfig, topic: &str) -> anyhow::Result<()> {
    let instead = "`--from-beginning` needs no time: it goes back to the first record";
    let settings = TopicSettings::of(client, topic).await;
    let settings = settings.with_context(|| {
        format!("nothing was changed: cannot find out whether brokers or producers set the timestamps. {instead}")
    })?;
    anyhow::ensure!(
        !settings.has_create_time(),
        "nothing was changed: the topic {topic} has message.timestamp.type=CreateTime, so its records have their \
         producers' timestamps, and no offset can be found for a time. {instead}"
    );
    Ok(())
}

/// A running worker would continue at its own position and overwrite the offsets committed here.
fn ensure_stopped(consumer: &PlainConsumer, group: &str) -> anyhow::Result<()> {
    let groups =
        consumer.fetch_group_list(Some(group), Duration::from_secs(10)).context("cannot read the group's state")?;
    let found = groups.groups().iter().find(|found| found.name() == group);
    let Some(found) = found.filter(|found| !matches!(found.state(), "Empty" | "Dead" | "")) else { return Ok(()) };
    anyhow::bail!(
        "nothing was changed: the group {group} has {} members (state {}). Stop all workers first; one that was \
         killed leaves after 10 s",
        found.members().len(),
        found.state()
    )
}

fn plan(reader: &Reader, config: &SeekConfig, topic: &str) -> anyhow::Result<Vec<Moved>> {
    let (consumer, spans) = (&reader.consumer, reader.spans(None)?);
    let mut all = TopicPartitionList::new();
    for span in &spans {
        all.add_partition(topic, span.partition);
    }
    let times = config.to_time.map(|to_time| at_time(consumer, topic, &spans, to_time)).transpose()?;
    let committed = consumer.committed_offsets(all, ADMIN_TIMEOUT).context("cannot read the group's offsets")?;
    let mut moved = Vec::with_capacity(spans.len());
    for Span { partition, from: first, to: end } in spans {
        let at_time = match &times {
            Some(times) => {
                let found = times.find_partition(topic, partition).context("Kafka did not answer for a partition")?;
                found.error().with_context(|| format!("cannot find the offset of partition {partition}"))?;
                known(found.offset())
            }
            None => Some(first),
        };
        let from = committed.find_partition(topic, partition).and_then(|found| known(found.offset()));
        let to = target(at_time, from, first, end);
        moved.push(Moved { partition, from, to, first });
    }
    Ok(moved)
}

/// The offset of the first record in each partition with that time or a later one.
fn at_time(
    consumer: &PlainConsumer,
    topic: &str,
    spans: &[Span],
    to_time: OffsetDateTime,
) -> anyhow::Result<TopicPartitionList> {
    let millis = i64::try_from(to_time.unix_timestamp_nanos() / 1_000_000)?;
    let mut times = TopicPartitionList::new();
    for span in spans {
        times.add_partition_offset(topic, span.partition, Offset::Offset(millis.max(0)))?;
    }
    consumer.offsets_for_times(times, ADMIN_TIMEOUT).context("cannot find the offsets of that time")
}

fn known(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// The offset of that time, or the end if no record came later; but never after the group's committed offset, or the
/// first offset if nothing was committed.
fn target(at_time: Option<i64>, from: Option<i64>, first: i64, end: i64) -> i64 {
    at_time.unwrap_or(end).min(from.unwrap_or(first)).max(first)
}

/// Settings of `seek`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["to_time", "from_beginning", "past_unreadable", "to_offset"]))]
pub struct SeekConfig {
    /// The time (RFC 3339) to go back to: the time that PostgreSQL was restored to, or better some minutes before it.
    /// Events that were applied before are recognised.
    #[arg(long, value_parser = rfc3339::instant)]
    pub to_time: Option<OffsetDateTime>,
    /// Go back to the first record that the topic has, whatever its time: for a topic with
    /// `message.timestamp.type=CreateTime`, whose timestamps producers set.
    #[arg(long)]
    pub from_beginning: bool,
    /// Skip unreadable records at the partition's position, up to the first offset that can be read. Skipped records
    /// count as lost.
    #[arg(long, requires = "partition")]
    pub past_unreadable: bool,
    /// Continue at this offset of the partition, if nothing before it can be read: for records that the client neither
    /// returns nor refuses.
    #[arg(long, requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// The partition whose unreadable records are skipped.
    #[arg(long, conflicts_with_all = ["to_time", "from_beginning"])]
    pub partition: Option<i32>,
    /// Print the offsets that the group would have, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub stores: StoresConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_group_only_ever_goes_back() {
        assert_eq!(target(Some(5), Some(9), 0, 10), 5);
        assert_eq!(target(Some(9), Some(5), 0, 10), 5, "not forward");
        assert_eq!(target(None, Some(10), 0, 10), 10, "nothing later: the end");
        assert_eq!(target(None, Some(7), 0, 10), 7, "but not past what is not consumed");
        assert_eq!(target(Some(5), None, 2, 10), 2, "a group that stands nowhere begins with the first");
        assert_eq!(target(Some(5), Some(3), 4, 10), 4, "what is gone is gone");
    }
}
