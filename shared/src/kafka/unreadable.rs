//! Finds records that the client can never read. It would fetch them forever, and never deliver the records after them.
//!
//! librdkafka reports an error for a batch that is damaged, or larger than its limit after decompression. It does not
//! show the batch's header, which has the last offset. But each error has the batch's first offset, so this can test
//! whether another offset is in the same batch, and search for the batch's end.
//!
//! A single record that librdkafka considers truncated causes no error and no message: see [`malformed`].

use std::time::{Duration, Instant};

use crate::kafka::{Fetched, next_fetched};
use crate::kafka::{LogContext, PlainConsumer};
use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use self::malformed::Prober;

mod malformed;

/// How long the broker may take to answer for one offset.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// A range of records that the client can never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The first offset of the range.
    pub from: i64,
    /// The first offset after the range.
    pub to: i64,
    /// librdkafka's error.
    pub error: String,
    /// Whether the records were written malformed: no client setting makes them readable, and all replicas have the
    /// same bytes.
    pub is_malformed: bool,
}

const MALFORMED: &str = "the Kafka client cannot parse the record: a length in it is negative, or beyond its end";

/// Whether an error is about the data in the log, so that it repeats on every attempt.
pub fn is_unreadable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumption(code) if is_of_data(*code))
}

const fn is_of_data(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{BadCompression, BadMessage, MessageSizeTooLarge, NotImplemented};
    matches!(code, BadCompression | BadMessage | MessageSizeTooLarge | NotImplemented)
}

/// The unreadable ranges from an offset up to the first readable offset, or up to `end`. Empty if the offset is
/// readable. Blocks the thread until Kafka answers, at most twice `PROBE_TIMEOUT` per offset.
pub fn from(
    client: &ClientConfig,
    group: &str,
    topic: &str,
    partition: i32,
    mut from: i64,
    end: i64,
) -> anyhow::Result<Vec<Unreadable>> {
    let reader = Reader::open(client, group, topic, partition)?;
    let mut found = Vec::new();
    while from < end {
        let (base, error) = match reader.look_at(from)? {
            Content::Readable => break,
            Content::Malformed(at) if at >= end => break,
            Content::Malformed(at) => {
                add_malformed(&mut found, at);
                from = at + 1;
                continue;
            }
            Content::Unreadable { base, error } => (base, error),
        };
        let begin = from.max(base);
        if begin >= end {
            break;
        }
        let is_same = |offset| match reader.look_at(offset)? {
            Content::Unreadable { base: other, .. } => Ok(other == base),
            Content::Readable | Content::Malformed(_) => Ok(false),
        };
        let to = end_of_batch(begin, end, is_same)?;
        found.push(Unreadable { from: begin, to, error, is_malformed: false });
        from = to;
    }
    Ok(found)
}

/// Adds one record, merged with the malformed records directly before it.
fn add_malformed(found: &mut Vec<Unreadable>, offset: i64) {
    match found.last_mut() {
        Some(last) if last.is_malformed && last.to == offset => last.to += 1,
        _ => found.push(Unreadable { from: offset, to: offset + 1, error: MALFORMED.to_owned(), is_malformed: true }),
    }
}

/// The first offset after the batch that contains `begin`; `end` if it is the last batch. The number of calls of
/// `is_same` is at most about twice the binary logarithm of the batch's length.
fn end_of_batch(begin: i64, end: i64, mut is_same: impl FnMut(i64) -> anyhow::Result<bool>) -> anyhow::Result<i64> {
    let (mut inside, mut behind) = (begin, end.max(begin + 1));
    let mut step = 1;
    while inside + step < behind {
        if is_same(inside + step)? {
            inside += step;
            step *= 2;
        } else {
            behind = inside + step;
        }
    }
    while inside + 1 < behind {
        let middle = inside + (behind - inside) / 2;
        if is_same(middle)? {
            inside = middle;
        } else {
            behind = middle;
        }
    }
    Ok(behind)
}

/// The result of reading from an offset.
enum Content {
    /// A record, or the end.
    Readable,
    /// An unreadable batch that begins at or before the offset.
    Unreadable { base: i64, error: String },
    /// The record at this offset cannot be parsed. The next one may be readable.
    Malformed(i64),
}

struct Reader<'a> {
    consumer: PlainConsumer,
    prober: Prober<'a>,
    topic: &'a str,
    partition: i32,
}

/// Settings for clients that fetch as little as possible.
fn settings(client: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = client.clone();
    config
        // The client requires a name: it does not join the group, and commits nothing.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        // Report a damaged batch as an error, so that it does not look like a malformed one.
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("queued.min.messages", "1")
        .set("fetch.wait.max.ms", "100")
        // Every read of an unreadable offset is an error, so do not wait after one.
        .set("fetch.error.backoff.ms", "10");
    config
}

impl<'a> Reader<'a> {
    fn open(client: &ClientConfig, group: &str, topic: &'a str, partition: i32) -> anyhow::Result<Self> {
        let mut config = settings(client, group);
        config.set("max.partition.fetch.bytes", "65536");
        let consumer = config.create_with_context(LogContext).context("cannot create a Kafka client")?;
        let prober = Prober::open(settings(client, group), topic, partition)?;
        Ok(Self { consumer, prober, topic, partition })
    }

    fn look_at(&self, offset: i64) -> anyhow::Result<Content> {
        if let Some(there) = self.prober.look_at(offset)? {
            return Ok(there);
        }
        // The batch's first offset comes from this consumer's error.
        self.prober.rest()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)?;
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let mut trouble = None;
        while Instant::now() < deadline {
            match next_fetched(&self.consumer, POLL) {
                Some(Fetched::Record(_) | Fetched::End) => return Ok(Content::Readable),
                Some(Fetched::Failed { offset, code, text }) if is_of_data(code) => {
                    return Ok(Content::Unreadable { base: offset, error: text });
                }
                Some(Fetched::Failed { text, .. }) => trouble = Some(text),
                None => {}
            }
        }
        let why = trouble.unwrap_or_else(|| "no answer".to_owned());
        anyhow::bail!("reading {} [{}] at {offset}: {why}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A log of batches; the one at `at` cannot be read.
        #[test]
        fn the_end_of_a_batch_is_found_exactly(
            lengths in prop::collection::vec(1..5_000_i64, 1..12), at: prop::sample::Index, skipped in 0..5_000_i64,
        ) {
            let at = at.index(lengths.len());
            let ends: Vec<i64> = lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }).collect();
            let (begin, batch_end) = (ends[at] - lengths[at], ends[at]);
            let begin = begin + skipped % lengths[at];
            let end = *ends.last().unwrap();
            let mut asked = 0;
            let found = end_of_batch(begin, end, |offset| {
                asked += 1;
                assert!(offset > begin && offset < end, "{offset} is not in the log");
                Ok(offset < batch_end)
            });
            prop_assert_eq!(found.unwrap(), batch_end);
            prop_assert!(asked <= 26, "{}", asked);
        }
    }
}
