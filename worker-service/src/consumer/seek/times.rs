//! Checks whether an offset that was found by a time is reliable. Each record states whether the broker or its producer
//! set its time. So records from before a change of `message.timestamp.type` are recognised, whatever the topic's
//! settings are now.

use anyhow::Context as _;
use rdkafka::ClientConfig;

use super::Moved;
use crate::dead_letters::read::{Reader, Span};
use crate::source::Source;

/// Ensures that no record before these offsets is as late as the time they were found by. The broker's clock moves
/// forward, so it is enough that the broker set the time of the last record before each offset: all records before that
/// one are earlier. Aborted and unreadable records do not matter: the check uses the last readable record before them.
pub(super) fn ensure_of_broker(client: &ClientConfig, source: &Source, moved: &[Moved]) -> anyhow::Result<()> {
    let topic = source.topics.input.as_str();
    let reader = Reader::open(client, topic, &source.group)?;
    // A partition that starts at its first record skips nothing.
    for Moved { partition, first, to, .. } in moved.iter().filter(|moved| moved.first < moved.to) {
        let before = last_before(&reader, *partition, *first, *to).context("nothing was changed")?;
        if let Some((offset, true)) = before {
            anyhow::bail!(
                "nothing was changed: {topic} [{partition}] has records with their producers' timestamps, from when \
                 message.timestamp.type was CreateTime, the last one at offset {offset}: no offset can be found for a \
                 time before that record. `--from-beginning` needs no time: it goes back to the first record"
            );
        }
    }
    Ok(())
}

/// The last record before an offset, and whether its producer set its time. The search reaches back further each time,
/// because there may be transaction markers in between.
fn last_before(reader: &Reader, partition: i32, first: i64, before: i64) -> anyhow::Result<Option<(i64, bool)>> {
    let mut back = 1;
    loop {
        let from = before.saturating_sub(back).max(first);
        let mut last = None;
        reader.read(Span { partition, from, to: before }, |record| {
            last = Some((record.offset, record.create_time));
            true
        })?;
        if last.is_some() || from == first {
            return Ok(last);
        }
        back = back.saturating_mul(4);
    }
}
