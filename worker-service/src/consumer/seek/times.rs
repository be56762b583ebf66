//! Whether an offset that was found by a time can be relied on. Each record says itself whose clock its time is of, so
//! those of before somebody mended `message.timestamp.type` are known whatever the topic's settings are by now.

use anyhow::Context as _;
use rdkafka::ClientConfig;

use super::Moved;
use crate::dead_letters::read::{Reader, Span};
use crate::source::Source;

/// Ensures that nothing before these offsets came later than what stands there. The broker's clock goes forward, so it
/// is enough that the last record before such an offset has its time from the broker: all before it came earlier. What
/// was aborted, and what cannot be read, leaves nothing out: it goes by what stands before it.
pub(super) fn ensure_of_broker(client: &ClientConfig, source: &Source, moved: &[Moved]) -> anyhow::Result<()> {
    let topic = source.topics.input.as_str();
    let reader = Reader::open(client, topic, &source.group)?;
    // Before the first record nothing is left out.
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

/// The last record before an offset, and whether its time is its producer's word. It looks back ever further: markers of
/// transactions stand there, too.
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
