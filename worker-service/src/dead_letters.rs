//! Dead letters, for those who look after them: [`list`], [`show`], [`redrive`], [`purge`].
//!
//! The dead-letter topic is read without joining a group, from its beginning to where it ends at that
//! moment, partition by partition ([`read`]). Only [`purge`] takes something out of it: a letter
//! that was redriven stays, and is known by the row that its event has then.

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

/// Letters whose rows are asked for at once.
const CHUNK: usize = 500;

/// Reads letters on a thread of its own: those that the filter lets through come out in chunks,
/// without their values, so that a topic of any size takes little memory. What cannot be read yet is told in the log.
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
                let letter = LetterSummary::of(&record, source.handler.stream.types);
                if letter.is_of(&source) && filter.matches(&letter) {
                    chunk.push(letter);
                }
                // Nobody wants more: the other end is gone.
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

/// The outcomes of those letters' events whose effect is there, in the order of the letters.
async fn outcomes(
    store: &Store,
    handler: HandlerSpec,
    letters: &[LetterSummary],
) -> Result<Vec<Option<String>>, Failure> {
    let name = |letter: &LetterSummary| Some((letter.key.clone()?, letter.event_id.clone()?));
    let names: Vec<Option<EventName>> = letters.iter().map(name).collect();
    let asked: Vec<_> = names.iter().flatten().cloned().collect();
    let found = if asked.is_empty() { HashMap::new() } else { handler.journal.outcomes(store, &asked).await? };
    Ok(names.iter().map(|name| found.get(name.as_ref()?).cloned()).collect())
}
