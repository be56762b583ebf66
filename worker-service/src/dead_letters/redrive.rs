//! `dlq redrive`: sends letters back to the input topic.
//!
//! Two passes. The first reads every letter and keeps only what orders them ([`plan`]); the second reads the letters to
//! send again, and sends each after the previous one was acknowledged. So the events of a key never overtake each
//! other.
//!
//! Nothing is lost: a letter stays in the topic. Nothing is applied twice: an event that has its row is left out, and
//! would count as a repeat if it were sent.

use std::collections::HashSet;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use shared::cache::{Cache, Kind};
use shared::kafka::{self, Record, StreamSpec};
use shared::store::Store;
use tokio::sync::mpsc;
use tokio::time::Instant;

mod plan;
mod send;

use self::plan::{Plan, PlannedRecord};
use self::send::Sender;
use super::read::{Reader, Span};
use super::summary::{LetterSummary, Shown};
use super::{letters, outcomes};
use crate::dead_letters::config::DlqRedriveConfig;
use crate::source::Source;

/// After this many failures in a row that the letters did not cause, Kafka is probably down: sending stops, because the
/// rest would only run into the same timeout.
const FAILURES: usize = 3;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub read: u64,
    /// Letters that matched the filter.
    pub matched: usize,
    /// Left out because their event has its row.
    pub applied: usize,
    /// Left out because there is a later letter of the same event.
    pub repeated: usize,
    /// Not sent: redriven too often, truncated, not a letter of this worker, or too large for the topic.
    pub refused: usize,
    /// Acknowledged by Kafka; in a dry run, what would be sent.
    pub sent: usize,
    /// Not acknowledged, or not sent because an earlier one of the key failed; those may have been written.
    pub failed: usize,
    /// Whether nothing was sent, because this is a dry run.
    pub dry_run: bool,
}

/// Sends the chosen letters; nothing if PostgreSQL or Redis is down.
pub async fn run(
    config: &DlqRedriveConfig,
    source: &Source,
    kinds: &[&'static Kind],
    out: &mut impl Write,
) -> anyhow::Result<Summary> {
    let client = kafka::client(&config.kafka)?;
    let store = Store::open(&config.stores.postgres, "worker-service dlq")?;
    let cache = Cache::open(&config.stores.redis, kinds)?;
    // Records that are sent now would only wait in the input topic, or leave the cache stale.
    store.check().await.context("nothing was sent: PostgreSQL is not ready")?;
    cache.is_there().await.context("nothing was sent: Redis does not answer")?;

    let open = || Reader::open(&client, &source.topics.dlq, &source.group);
    let mut report = Report {
        out,
        json: config.json,
        stream: source.handler.stream,
        summary: Summary { dry_run: config.dry_run, ..Summary::default() },
    };
    let plan = gather(config, source, open()?, &store, &mut report).await?;
    for entry in &plan.refused {
        report.refused(entry.partition, entry.offset, &format!("already redriven {} times", entry.redrives))?;
    }
    report.summary.repeated = plan.repeated;
    let sender = if config.dry_run { None } else { Some(Sender::new(&client, source)?) };
    send(config.rate, open()?, plan, sender.as_ref(), &mut report).await?;
    store.close().await;
    report.end()
}

async fn gather(
    config: &DlqRedriveConfig,
    source: &Source,
    reader: Reader,
    store: &Store,
    report: &mut Report<'_, impl Write>,
) -> anyhow::Result<Plan> {
    let mut planned = Vec::new();
    let only = config.partition.map(|partition| (partition, config.offset));
    let (mut chunks, task) = letters(reader, only, config.filter.clone(), source.clone());
    while let Some(chunk) = chunks.recv().await {
        report.summary.matched += chunk.len();
        let rows = outcomes(store, source.handler, &chunk).await?;
        for (letter, row) in chunk.iter().zip(rows) {
            if row.is_some() && !config.include_applied {
                report.summary.applied += 1;
            } else if let Some(obstacle) = letter.obstacle() {
                report.refused(letter.partition, letter.offset, obstacle)?;
            } else {
                planned.extend(PlannedRecord::of(letter));
            }
        }
    }
    report.summary.read = task.await.map_err(shared::runtime::lifecycle::no_result)??;
    let max_redrives = (!config.force).then_some(config.max_redrives);
    Ok(plan::plan(planned, max_redrives, config.filter.limit))
}

async fn send(
    rate: u32,
    reader: Reader,
    plan: Plan,
    sender: Option<&Sender>,
    report: &mut Report<'_, impl Write>,
) -> anyhow::Result<()> {
    let planned = plan.streamed.len() + plan.picked.len();
    let (records, mut receiver) = mpsc::channel(4);
    let task = tokio::task::spawn_blocking(move || fetch(&reader, &plan, &records));
    let pause = Duration::from_secs(1) / rate;
    let mut next = Instant::now();
    let mut held = HashSet::new();
    let mut in_a_row = 0;
    let mut got = 0;
    while in_a_row < FAILURES
        && let Some((entry, record)) = receiver.recv().await
    {
        got += 1;
        let Some(sender) = sender else {
            report.sent(&record, None)?;
            continue;
        };
        if held.contains(&entry.key) {
            report.failed(&entry, "an earlier dead letter of its key was not sent")?;
            continue;
        }
        tokio::time::sleep_until(next).await;
        next = next.max(Instant::now()) + pause;
        match sender.send(&record, entry.redrives.saturating_add(1)).await {
            Ok(place) => {
                in_a_row = 0;
                report.sent(&record, Some(place))?;
            }
            // The following letters of its key are sent without it.
            Err(error) if error.is_of_this_one() => {
                in_a_row = 0;
                report.refused(entry.partition, entry.offset, &error.to_string())?;
            }
            Err(error) => {
                in_a_row += 1;
                held.insert(entry.key);
                report.failed(&entry, &error.to_string())?;
            }
        }
    }
    drop(receiver);
    let read = task.await?;
    // Not fetched: Kafka is down, or they were deleted.
    report.summary.failed += planned - got;
    read
}

fn fetch(reader: &Reader, plan: &Plan, records: &mpsc::Sender<(PlannedRecord, Record)>) -> anyhow::Result<()> {
    for run in plan.streamed.chunk_by(|a, b| a.partition == b.partition) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let mut wanted = run.iter().copied().peekable();
        let span = Span { partition: first.partition, from: first.offset, to: last.offset + 1 };
        let on = reader.read(span, |record| {
            while wanted.next_if(|entry| entry.offset < record.offset).is_some() {}
            match wanted.next_if(|entry| entry.offset == record.offset) {
                Some(entry) => records.blocking_send((entry, record)).is_ok(),
                None => true,
            }
        })?;
        if !on {
            return Ok(());
        }
    }
    for entry in &plan.picked {
        if let Some(record) = reader.one(entry.partition, entry.offset)?
            && records.blocking_send((*entry, record)).is_err()
        {
            break;
        }
    }
    Ok(())
}

struct Report<'a, W> {
    out: &'a mut W,
    json: bool,
    stream: StreamSpec,
    summary: Summary,
}

impl<W: Write> Report<'_, W> {
    fn sent(&mut self, record: &Record, place: Option<(i32, i64)>) -> anyhow::Result<()> {
        self.summary.sent += 1;
        let letter = LetterSummary::of(record, &self.stream);
        if self.json {
            let told = match place {
                Some((partition, offset)) => {
                    json!({"sent": letter.json(None), "to": {"partition": partition, "offset": offset}})
                }
                None => json!({"would_send": letter.json(None)}),
            };
            writeln!(self.out, "{told}")?;
            return Ok(());
        }
        let did = if place.is_some() { "sent" } else { "would send" };
        let to = place.map(|(partition, offset)| format!(" to={partition}/{offset}")).unwrap_or_default();
        writeln!(
            self.out,
            "{did} {}/{} key={} event={} redrives={}{to}",
            letter.partition,
            letter.offset,
            Shown(&letter.key),
            Shown(&letter.event_id),
            letter.redrives
        )?;
        Ok(())
    }

    fn refused(&mut self, partition: i32, offset: i64, why: &str) -> anyhow::Result<()> {
        self.summary.refused += 1;
        self.say("refused", partition, offset, why)
    }

    fn failed(&mut self, entry: &PlannedRecord, why: &str) -> anyhow::Result<()> {
        self.summary.failed += 1;
        self.say("failed", entry.partition, entry.offset, why)
    }

    fn say(&mut self, what: &str, partition: i32, offset: i64, why: &str) -> anyhow::Result<()> {
        if self.json {
            writeln!(self.out, "{}", json!({what: {"partition": partition, "offset": offset, "why": why}}))?;
        } else {
            writeln!(self.out, "{what} {partition}/{offset}: {why}")?;
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<Summary> {
        let s = self.summary;
        if self.json {
            writeln!(self.out, "{}", json!({"summary": s}))?;
        } else {
            let sent = if s.dry_run { "would send" } else { "sent" };
            writeln!(
                self.out,
                "{} dead letters read, {} matched: {sent} {}, already applied {}, repeated {}, refused {}, failed {}",
                s.read, s.matched, s.sent, s.applied, s.repeated, s.refused, s.failed
            )?;
        }
        self.out.flush()?;
        Ok(s)
    }
}
