//! `dlq list`: one line for each letter.

use std::io::Write;

use shared::kafka;
use shared::store::Store;

use super::read::Reader;
use super::{letters, outcomes};
use crate::dead_letters::config::DlqListConfig;
use crate::source::Source;

/// Lists the letters that match the filter, by partition and offset.
///
/// Lists them without PostgreSQL, too: whether an event was applied is unknown then.
pub async fn run(config: &DlqListConfig, source: &Source, out: &mut impl Write) -> anyhow::Result<()> {
    let client = kafka::client(&config.kafka)?;
    let store = Store::open(&config.postgres, "worker-service dlq")?;
    let reader = Reader::open(&client, &source.topics.dlq, &source.group)?;
    let mut left = config.filter.limit.unwrap_or(usize::MAX);
    let (mut chunks, task) = letters(reader, None, config.filter.clone(), source.clone());
    let mut away = false;
    while left > 0
        && let Some(mut chunk) = chunks.recv().await
    {
        chunk.truncate(left);
        left -= chunk.len();
        let known = if away {
            None
        } else {
            outcomes(&store, source.handler, &chunk)
                .await
                .inspect_err(|error| tracing::warn!(%error, "cannot find out whether events were applied"))
                .ok()
        };
        away = known.is_none();
        for (n, letter) in chunk.iter().enumerate() {
            let outcome = known.as_ref().map(|rows| rows.get(n).and_then(Option::as_deref));
            let line = if config.json { letter.json(outcome).to_string() } else { letter.line(outcome) };
            writeln!(out, "{line}")?;
        }
    }
    drop(chunks);
    task.await.map_err(shared::runtime::lifecycle::no_result)??;
    out.flush()?;
    store.close().await;
    Ok(())
}
