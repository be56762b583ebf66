//! `dlq list`: one line for each letter.

use std::io::Write;

use rdkafka::ClientConfig;
use shared::kafka;
use shared::store::Store;

use super::read::Reader;
use super::{letters, outcomes};
use crate::dead_letters::config::DlqListConfig;
use crate::source::Source;

/// Lists the letters of these handlers that match the filter, by handler, partition and offset.
///
/// Lists them without PostgreSQL, too: whether an event was applied is unknown then.
pub async fn run(config: &DlqListConfig, sources: &[Source], out: &mut impl Write) -> anyhow::Result<()> {
    let client = kafka::client(&config.kafka)?;
    let store = Store::open(&config.postgres, "worker-service dlq")?;
    let left = config.filter.limit.unwrap_or(usize::MAX);
    let mut list = List { config, left, away: false, names_handlers: sources.len() > 1, out };
    for source in sources {
        list.add(&client, &store, source).await?;
    }
    list.out.flush()?;
    store.close().await;
    Ok(())
}

struct List<'a, W> {
    config: &'a DlqListConfig,
    /// How many letters may still be listed.
    left: usize,
    /// Whether PostgreSQL did not answer.
    away: bool,
    /// Whether each line names its handler.
    names_handlers: bool,
    out: &'a mut W,
}

impl<W: Write> List<'_, W> {
    /// Lists the letters of one handler.
    async fn add(&mut self, client: &ClientConfig, store: &Store, source: &Source) -> anyhow::Result<()> {
        let handler = source.handler;
        let reader = Reader::open(client, &source.topics.dlq, &source.group)?;
        let (mut chunks, task) = letters(reader, None, self.config.filter.clone(), source.clone());
        while self.left > 0
            && let Some(mut chunk) = chunks.recv().await
        {
            chunk.truncate(self.left);
            self.left -= chunk.len();
            let known = if self.away {
                None
            } else {
                outcomes(store, handler, &chunk)
                    .await
                    .inspect_err(|error| tracing::warn!(%error, "cannot find out whether events were applied"))
                    .ok()
            };
            self.away = known.is_none();
            for (n, letter) in chunk.iter().enumerate() {
                let outcome = known.as_ref().map(|rows| rows.get(n).and_then(Option::as_deref));
                if self.config.json {
                    let mut letter = letter.json(outcome);
                    letter.as_object_mut().map(|letter| letter.insert("handler".to_owned(), handler.name.into()));
                    writeln!(self.out, "{letter}")?;
                } else if self.names_handlers {
                    writeln!(self.out, "{} handler={}", letter.line(outcome), handler.name)?;
                } else {
                    writeln!(self.out, "{}", letter.line(outcome))?;
                }
            }
        }
        drop(chunks);
        task.await.map_err(shared::runtime::lifecycle::no_result)??;
        Ok(())
    }
}
