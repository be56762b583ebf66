//! `dlq purge`: deletes old letters. The topic keeps them forever, and erasure has to reach them.
//!
//! Kafka deletes only from the beginning of a partition. So in each partition everything before the first letter that
//! stays is deleted, and matching letters behind it are reported.

use std::io::Write;

use anyhow::Context as _;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::topic_partition_list::Offset;
use serde_json::json;
use shared::kafka::topics::settings::admin;
use shared::kafka::{self, ADMIN_TIMEOUT, LogContext, Record};
use shared::runtime::rfc3339;

use super::read::{Reader, Span};
use super::summary::{LetterSummary, Shown};
use crate::dead_letters::config::DlqPurgeConfig;
use crate::dead_letters::filter::LetterFilter;
use crate::source::Source;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Letters that were deleted; in a dry run, those that would be.
    pub deleted: u64,
    /// Matching letters that stay, because an earlier one stays.
    pub behind: u64,
}

pub async fn run(config: &DlqPurgeConfig, source: &Source, out: &mut impl Write) -> anyhow::Result<Summary> {
    let client = kafka::client(&config.kafka)?;
    let topic = &source.topics.dlq;
    let reader = Reader::open(&client, topic, &source.group)?;
    let chosen = LetterFilter { key: config.key.clone(), until: Some(config.before), ..LetterFilter::default() };
    let (source, all_handlers) = (source.clone(), config.all_handlers);
    let partitions = tokio::task::spawn_blocking(move || look(&reader, &chosen, &source, all_handlers)).await??;
    let mut summary = Summary::default();
    for found in &partitions {
        if found.deletes() && !config.dry_run {
            delete(&*admin(&client)?, topic, found).await?;
        }
        summary.deleted += found.deleted();
        summary.behind += found.behind;
        tell(config, found, out)?;
    }
    let Summary { deleted, behind } = summary;
    if config.json {
        let summary = json!({"deleted": deleted, "behind": behind, "dry_run": config.dry_run});
        writeln!(out, "{}", json!({"summary": summary}))?;
    } else {
        let did = if config.dry_run { "would delete" } else { "deleted" };
        writeln!(out, "{did} {deleted} dead letters; {behind} other matching ones stay")?;
    }
    out.flush()?;
    Ok(summary)
}

/// What a purge does in one partition.
#[derive(Debug, Default)]
struct PartitionPlan {
    partition: i32,
    /// The first offset before and after the purge.
    from: i64,
    up_to: i64,
    /// The offsets of the letters to delete.
    deleted: Vec<i64>,
    /// The first letter that stays, and why.
    stays: Option<Stays>,
    behind: u64,
}

#[derive(Debug)]
enum Stays {
    /// It did not match.
    Letter(Box<LetterSummary>),
    /// An unreadable record cannot match.
    Unreadable(i64),
}

impl PartitionPlan {
    /// Before anything is read: the whole partition would be deleted.
    fn of(span: Span) -> Self {
        Self { partition: span.partition, from: span.from, up_to: span.to, ..Self::default() }
    }

    fn take(&mut self, letter: LetterSummary, is_chosen: bool) {
        match (&self.stays, is_chosen) {
            (None, true) => self.deleted.push(letter.offset),
            (None, false) => {
                self.up_to = letter.offset;
                self.stays = Some(Stays::Letter(Box::new(letter)));
            }
            (Some(_), true) => self.behind += 1,
            (Some(_), false) => {}
        }
    }

    /// The record at this offset cannot be read: only letters before it are deleted.
    fn is_unreadable_from(&mut self, offset: i64) {
        if offset < self.up_to {
            let before = self.deleted();
            self.deleted.retain(|at| *at < offset);
            self.behind += before - self.deleted();
            self.up_to = offset;
            self.stays = Some(Stays::Unreadable(offset));
        }
    }

    fn deleted(&self) -> u64 {
        self.deleted.len() as u64
    }

    fn deletes(&self) -> bool {
        self.up_to > self.from
    }
}

fn look(
    reader: &Reader,
    chosen: &LetterFilter,
    source: &Source,
    all_handlers: bool,
) -> anyhow::Result<Vec<PartitionPlan>> {
    let mut partitions = Vec::new();
    for span in reader.spans(None)? {
        let mut found = PartitionPlan::of(span);
        reader.read(span, |record: Record| {
            let letter = LetterSummary::of(&record, &source.handler.stream);
            let is_chosen = (all_handlers || letter.is_of(source)) && chosen.matches(&letter);
            found.take(letter, is_chosen);
            true
        })?;
        if let Some(offset) = reader.first_unreadable(span.partition) {
            found.is_unreadable_from(offset);
        }
        partitions.push(found);
    }
    Ok(partitions)
}

async fn delete(admin: &AdminClient<LogContext>, topic: &str, found: &PartitionPlan) -> anyhow::Result<()> {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, found.partition, Offset::Offset(found.up_to))?;
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT));
    let refused = || format!("deleting from {topic} [{}]", found.partition);
    let told = admin.delete_records(&offsets, &options).await.with_context(refused)?;
    for element in told.elements() {
        element.error().with_context(refused)?;
    }
    Ok(())
}

fn tell(config: &DlqPurgeConfig, found: &PartitionPlan, out: &mut impl Write) -> anyhow::Result<()> {
    let PartitionPlan { partition, up_to, behind, stays, .. } = found;
    let deleted = found.deleted();
    if config.json {
        let stays = match stays {
            None => json!(null),
            Some(Stays::Letter(letter)) => letter.json(None),
            Some(Stays::Unreadable(offset)) => {
                json!({"partition": partition, "offset": offset, "error": "it cannot be read"})
            }
        };
        let told = json!({
            "partition": partition, "deleted": deleted, "up_to": up_to, "stays": stays, "behind": behind,
        });
        writeln!(out, "{told}")?;
        return Ok(());
    }
    let did = if config.dry_run { "would delete" } else { "deleted" };
    write!(out, "{partition}: {did} {deleted} dead letters, up to offset {up_to}")?;
    match stays {
        None => writeln!(out)?,
        Some(Stays::Letter(letter)) => writeln!(
            out,
            "; {partition}/{} stays (key={} event={} failed_at={}), and {behind} matching ones behind it",
            letter.offset,
            Shown(&letter.key),
            Shown(&letter.event_id),
            rfc3339::format(letter.failed_at)
        )?,
        Some(Stays::Unreadable(offset)) => {
            writeln!(
                out,
                "; {partition}/{offset} stays because it cannot be read, and {behind} matching ones behind it"
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letters::summary::STREAM;

    fn letter(offset: i64) -> LetterSummary {
        let mut letter = LetterSummary::of(&Record::new(Some(b"d"), None, &[]), &STREAM);
        letter.offset = offset;
        letter
    }

    proptest! {
        /// Only matching letters are deleted, all of them before the first that stays, and all are counted.
        #[test]
        fn what_goes_ends_before_the_first_that_stays(
            chosen in prop::collection::vec(any::<bool>(), 0..40), unreadable in proptest::option::of(0_i64..100),
        ) {
            // Every other offset, as with transaction markers in between.
            let offset = |place: usize| 10 + 2 * i64::try_from(place).unwrap();
            let end = offset(chosen.len());
            let mut found = PartitionPlan::of(Span { partition: 0, from: 10, to: end });
            for (place, is_chosen) in chosen.iter().enumerate() {
                found.take(letter(offset(place)), *is_chosen);
            }
            let first = chosen.iter().position(|chosen| !chosen);
            let mut expected = first.map_or(end, offset);
            if let Some(unreadable) = unreadable.filter(|at| (10..end).contains(at)) {
                found.is_unreadable_from(unreadable);
                expected = expected.min(unreadable);
            }
            prop_assert_eq!(found.up_to, expected);
            let goes = (0..chosen.len()).filter(|place| offset(*place) < expected).count();
            let all = chosen.iter().filter(|chosen| **chosen).count();
            prop_assert_eq!((found.deleted(), found.deleted() + found.behind), (goes as u64, all as u64));
            prop_assert_eq!(found.stays.is_some(), expected < end);
            prop_assert_eq!(found.deletes(), expected > 10);
        }
    }
}
