//! Commands for operators that handle dead letters: [`list`], [`show`], [`redrive`], [`purge`].
//!
//! The dead-letter topic is read without joining a group, partition by partition, from its beginning to its current end
//! ([`read`]). Only [`purge`] deletes from it: a letter that was redriven stays, and the row of its event shows that it
//! was applied.

pub mod config;
pub mod filter;
pub mod list;
pub mod producer;
pub mod purge;
pub(crate) mod read;
pub mod redrive;
mod reliable_producer;
pub mod show;
pub mod summary;

use std::collections::HashMap;

use shared::store::{EventName, Failure, Store};
use tokio::sync::mpsc;

use self::summary::LetterSummary;
use crate::dead_letters::filter::LetterFilter;
use read::{Only, Reader, Span};

use crate::source::{HandlerSpec, Source};

/// Letters per chunk, which is one query to PostgreSQL.
const CHUNK: usize = 500;

/// Reads letters on its own thread. Those that match the filter are sent in chunks, without their values, so that a
/// topic of any size takes little memory. Logs a warning about letters that cannot be read yet.
fn letters(
    reader: Reader,
    only: Only,
    filter: LetterFilter,
    source: Source,
) -> (mpsc::Receiver<Vec<LetterSummary>>, tokio::task::JoinHandle<anyhow::Result<u64>>) {
    let (chunks, receiver) = mpsc::channel(2);
    let task = tokio::task::spawn_blocking(move || {
        let mut seen = 0;
        let mut chunk = Vec::new();
        let (spans, unstable) = reader.spans_and_unstable(only)?;
        for Span { partition, from, to } in unstable {
            let (from_offset, offsets) = (from, to - from);
            tracing::warn!(
                partition,
                from_offset,
                offsets,
                "dead letters wait behind an open transaction and cannot be read yet"
            );
        }
        for span in spans {
            let on = reader.read(span, |record| {
                seen += 1;
                let letter = LetterSummary::of(&record, &source.handler.stream);
                if letter.is_of(&source) && filter.matches(&letter) {
                    chunk.push(letter);
                }
                // If this fails, the receiver is closed.
                chunk.len() < CHUNK || chunks.blocking_send(std::mem::take(&mut chunk)).is_ok()
            })?;
            if !on {
                return Ok(seen);
            }
        }
        let _ = chunks.blocking_send(chunk);
        Ok(seen)
    });
    (receiver, task)
}

/// The outcome of each letter's event, in the order of the letters; `None` without a row.
async fn outcomes(
    store: &Store,
    handler: HandlerSpec,
    letters: &[LetterSummary],
) -> Result<Vec<Option<String>>, Failure> {
    let name = |letter: &LetterSummary| Some((letter.key.clone()?, letter.event_id.clone()?));
    let names: Vec<Option<EventName>> = letters.iter().map(name).collect();
    let asked: Vec<_> = names.iter().flatten().cloned().collect();
    let found = if asked.is_empty() { HashMap::new() } else { handler.once.outcomes(store, &asked).await? };
    Ok(names.iter().map(|name| found.get(name.as_ref()?).cloned()).collect())
}
