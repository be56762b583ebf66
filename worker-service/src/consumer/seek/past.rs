//! `seek --past-unreadable` and `--to-offset`: moves one partition past records that cannot be read and would otherwise
//! hold it up for ever. No other command moves a group forward. So it never skips readable records, and the worker that
//! next owns the partition reports the skipped range as lost.

use std::fmt;
use std::io::Write;
use std::ops::Range;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use shared::kafka::unreadable::{self, Unreadable};
use shared::kafka::{self, ADMIN_TIMEOUT};

use super::{ensure_stopped, known};
use crate::consumer::seek::SeekConfig;
use crate::dead_letters::read::{Reader, Span};
use crate::observe::panics;
use crate::source::Source;

/// The skipped range, stored as metadata of the committed offset for the worker to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The first offset that was skipped.
    pub from: i64,
    /// The first offset that was not skipped.
    pub to: i64,
}

const NOTE: &str = "skipped as unreadable: ";

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NOTE}{}..{}", self.from, self.to)
    }
}

impl Skipped {
    /// The range in the metadata of a committed offset, if there is one.
    pub fn of(committed: &TopicPartitionListElem<'_>) -> Option<Self> {
        // rdkafka panics if the metadata is not text, and anyone who commits for the group may write anything.
        Self::parse(&panics::caught(|| committed.metadata().to_owned()).ok()?)
    }

    /// Parses the metadata, if it has a skipped range.
    fn parse(note: &str) -> Option<Self> {
        let (from, to) = note.strip_prefix(NOTE)?.split_once("..")?;
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (0 <= from && from < to).then_some(Self { from, to })
    }
}

/// The partition's position and the range to skip.
struct Plan {
    at: i64,
    skipped: Skipped,
    found: Vec<Unreadable>,
}

/// Moves the partition. An error says that nothing was changed.
pub(super) async fn run(
    config: &SeekConfig,
    source: &Source,
    partition: i32,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let client = kafka::client(&config.kafka)?;
    let owned = (config.clone(), source.clone());
    let moved = tokio::task::spawn_blocking(move || go_past(&client, &owned.0, &owned.1, partition));
    let Plan { at, skipped: Skipped { from, to }, found } =
        moved.await.map_err(shared::runtime::lifecycle::no_result)??;
    let topic = &source.topics.input;
    let done = if config.dry_run { "a dry run: nothing was changed" } else { "the group is moved" };
    let mut told = format!("{topic} [{partition}] {at} -> {to}\n");
    for Unreadable { from, to, error, .. } in found {
        told += &format!("{} offsets from {from} to {} cannot be read: {error}\n", to - from, to - 1);
    }
    told += &format!("{} offsets count as lost\n{done}\n", to - from);
    out.write_all(told.as_bytes())
        .and_then(|()| out.flush())
        .with_context(|| format!("{done}, but the result could not be printed"))
}

fn go_past(client: &ClientConfig, config: &SeekConfig, source: &Source, partition: i32) -> anyhow::Result<Plan> {
    let (group, topic) = (source.group.as_str(), source.topics.input.as_str());
    let reader = Reader::open(client, topic, group)?;
    let consumer = &reader.consumer;
    if !config.dry_run {
        ensure_stopped(consumer, group)?;
    }
    let spans = reader.spans(Some((partition, None))).context("nothing was changed")?;
    let Span { from: first, to: end, .. } = *spans.first().context("nothing was changed: there is no partition")?;
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let committed = consumer.committed_offsets(list, ADMIN_TIMEOUT).context("cannot read the group's offsets")?;
    let committed = committed.find_partition(topic, partition);
    // The range that an earlier command skipped and no worker has reported yet.
    let earlier = committed.as_ref().and_then(|found| Skipped::of(found));
    let committed = committed.and_then(|found| known(found.offset()));
    let at = committed.unwrap_or(first).max(first);
    let mut plan = plan(client, config, source, partition, at..end)?;
    if let Some(earlier) = earlier.filter(|earlier| earlier.to == at) {
        plan.skipped.from = earlier.from;
    }
    if !config.dry_run {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(plan.skipped.to))?;
        element.set_metadata(plan.skipped.to_string());
        // This client is no member of the group, so the broker refuses the commit if a worker has joined meanwhile.
        consumer.commit(&list, CommitMode::Sync).context("nothing was changed: Kafka refused the group's offsets")?;
    }
    Ok(plan)
}

fn plan(
    client: &ClientConfig,
    config: &SeekConfig,
    source: &Source,
    partition: i32,
    Range { start: at, end }: Range<i64>,
) -> anyhow::Result<Plan> {
    let (group, topic) = (source.group.as_str(), source.topics.input.as_str());
    let look = || unreadable::from(client, group, topic, partition, at, end);
    if let Some(to) = config.to_offset {
        anyhow::ensure!(
            (at + 1..=end).contains(&to),
            "nothing was changed: the partition stands at {at} and ends at {end}; {to} is not between them"
        );
        // If the client reports nothing about the records there, only the operator knows how far to skip.
        let readable = match look() {
            Ok(found) => found.last().map_or(Some(at), |last| (last.to < to).then_some(last.to)),
            Err(error) => {
                tracing::warn!(
                    group,
                    partition,
                    offset = at,
                    error = format!("{error:#}"),
                    "the client reports nothing about the skipped records: relying on --to-offset"
                );
                None
            }
        };
        if let Some(readable) = readable {
            anyhow::bail!("nothing was changed: the partition can be read at {readable}, before {to}");
        }
        return Ok(Plan { at, skipped: Skipped { from: at, to }, found: Vec::new() });
    }
    let found = look().context(
        "nothing was changed: if the client reports nothing about the records there, `--to-offset` continues behind \
         them",
    )?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        anyhow::bail!("nothing was changed: the partition can be read where it stands, at {at}");
    };
    Ok(Plan { at, skipped: Skipped { from: first.from, to: last.to }, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_read_as_it_was_written_and_no_other_is() {
        let skipped = Skipped { from: 17, to: 25 };
        assert_eq!(Skipped::parse(&skipped.to_string()), Some(skipped));
        for other in
            ["", "17..25", "skipped as unreadable: ", "skipped as unreadable: 25..17", "skipped as unreadable: x..y"]
        {
            assert_eq!(Skipped::parse(other), None, "{other}");
        }
    }
}
