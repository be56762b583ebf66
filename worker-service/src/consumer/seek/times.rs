//! Whether an offset that was found by a time can be relied on. Each record says itself whose clock its time is of, so
//! those of before somebody mended `message.timestamp.type` are known whatever the topic's settings are by now.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _, Timestamp};
use shared::kafka::{LogContext, PlainConsumer};

use super::Moved;
use crate::source::Source;
use shared::kafka::unreadable;

const READ_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Without a record or an error for so long, what stands there is looked at.
const SILENCE: Duration = Duration::from_secs(2);

/// Ensures that nothing before these offsets came later than what stands there. The broker's clock goes forward, so it
/// is enough that the last record before such an offset has its time from the broker: all before it came earlier.
pub(super) fn ensure_of_broker(client: &ClientConfig, source: &Source, moved: &[Moved]) -> anyhow::Result<()> {
    let (topic, group) = (source.topics.input.as_str(), source.group.as_str());
    let mut settings = client.clone();
    settings
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "1024");
    let reader: PlainConsumer = settings.create_with_context(LogContext).context("cannot create a Kafka client")?;
    // Before the first record nothing is left out.
    for Moved { partition, first, to, .. } in moved.iter().filter(|moved| moved.first < moved.to) {
        // What cannot be read has no time that could be told: it goes by what stands before it.
        let skip = |from| {
            let found = unreadable::from(client, group, topic, *partition, from, *to)?;
            Ok(found.last().map(|last| last.to))
        };
        let before = last_before(&reader, topic, *partition, *first, *to, skip).context("nothing was changed")?;
        if let Some((offset, Timestamp::CreateTime(_) | Timestamp::NotAvailable)) = before {
            anyhow::bail!(
                "nothing was changed: {topic} [{partition}] has records with their producers' timestamps, from when \
                 message.timestamp.type was CreateTime, the last one at offset {offset}: no offset can be found for a \
                 time before that record. `--from-beginning` needs no time: it goes back to the first record"
            );
        }
    }
    Ok(())
}

/// The last record before an offset, and its time. It looks back ever further: markers of transactions stand there, too.
/// `skip` finds the end of what cannot be read from an offset on.
fn last_before(
    reader: &PlainConsumer,
    topic: &str,
    partition: i32,
    first: i64,
    before: i64,
    skip: impl Fn(i64) -> anyhow::Result<Option<i64>>,
) -> anyhow::Result<Option<(i64, Timestamp)>> {
    let go_to = |offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        reader.assign(&list)
    };
    let mut deadline = Instant::now() + READ_TIMEOUT;
    let mut back = 1;
    loop {
        let from = before.saturating_sub(back).max(first);
        go_to(from)?;
        let (mut last, mut trouble, mut next) = (None, None, from);
        let (mut since, mut looked) = (Instant::now(), None);
        // The record at `before` itself may be one that cannot be read, so its arrival is not waited for.
        while next < before {
            let mut is_unread = false;
            match reader.poll(POLL) {
                Some(Ok(message)) if message.offset() < before => {
                    last = Some((message.offset(), message.timestamp()));
                    (next, since) = (message.offset() + 1, Instant::now());
                }
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => {
                    is_unread = unreadable::is_unreadable(&error);
                    trouble = Some(error);
                }
                None => is_unread = trouble.is_none() && since.elapsed() >= SILENCE,
            }
            if is_unread && looked != Some(next) {
                looked = Some(next);
                if let Some(behind) = skip(next)? {
                    if behind >= before {
                        break;
                    }
                    go_to(behind)?;
                    (next, trouble) = (behind, None);
                }
                since = Instant::now();
                deadline = since + READ_TIMEOUT;
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "reading {topic} [{partition}] before {before}: {}",
                trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string())
            );
        }
        if last.is_some() || from == first {
            return Ok(last);
        }
        back = back.saturating_mul(4);
    }
}
