//! What the client cannot read, whatever is tried. It fetches it again for ever, and nothing behind it comes in.
//!
//! A batch that unpacks to more than librdkafka takes, or that is damaged, is an error. Where it ends only its header
//! says, which the client does not show. But each error names the batch's first offset, so whether an offset lies in
//! the same batch can be asked, and its end be searched for.
//!
//! A single record that librdkafka takes for cut off is no error, but silence: see [`malformed`].

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

/// How long the broker may take to hand out what is at an offset.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// Records that the client cannot read, whatever is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The first of them.
    pub from: i64,
    /// The first behind them.
    pub to: i64,
    /// What librdkafka says of them.
    pub error: String,
    /// Whether they are records that were written so: no setting lets the client read them, and no replica has them
    /// otherwise.
    pub is_malformed: bool,
}

const MALFORMED: &str = "the Kafka client cannot parse the record: a length in it is negative, or beyond its end";

/// Whether an error is about what lies in the log, and so comes again however often it is tried.
pub fn is_unreadable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumption(code) if is_of_data(*code))
}

const fn is_of_data(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{BadCompression, BadMessage, MessageSizeTooLarge, NotImplemented};
    matches!(code, BadCompression | BadMessage | MessageSizeTooLarge | NotImplemented)
}

/// What cannot be read from an offset on, up to the first offset that can be read, or to `end`. Empty where it can be
/// read. Blocks its thread, until Kafka hands out something or says something, or is given up.
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
            There::Readable => break,
            There::Malformed(at) if at >= end => break,
            There::Malformed(at) => {
                add_malformed(&mut found, at);
                from = at + 1;
                continue;
            }
            There::Unreadable { base, error } => (base, error),
        };
        let begin = from.max(base);
        if begin >= end {
            break;
        }
        let is_same = |offset| match reader.look_at(offset)? {
            There::Unreadable { base: other, .. } => Ok(other == base),
            There::Readable | There::Malformed(_) => Ok(false),
        };
        let to = end_of_batch(begin, end, is_same)?;
        found.push(Unreadable { from: begin, to, error, is_malformed: false });
        from = to;
    }
    Ok(found)
}

/// One more record, with those right before it.
fn add_malformed(found: &mut Vec<Unreadable>, offset: i64) {
    match found.last_mut() {
        Some(last) if last.is_malformed && last.to == offset => last.to += 1,
        _ => found.push(Unreadable { from: offset, to: offset + 1, error: MALFORMED.to_owned(), is_malformed: true }),
    }
}

/// The first offset behind the batch that `begin` is in; `end` where it is the last one. Each offset is asked for less
/// than twice the logarithm of the batch's length, and none is taken to be in the batch that is not.
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

/// What is found at an offset, or behind it.
enum There {
    /// A record, or the end.
    Readable,
    /// A batch that begins there, or before.
    Unreadable { base: i64, error: String },
    /// A record at this offset that cannot be taken apart. The next may be read all the same.
    Malformed(i64),
}

struct Reader<'a> {
    consumer: PlainConsumer,
    prober: Prober<'a>,
    topic: &'a str,
    partition: i32,
}

/// Of clients that read no more than has to be.
fn settings(client: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = client.clone();
    config
        // Only a name that the client wants: the group is not joined, and nothing is committed for it.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        // What is damaged is an error, and not taken for what was written so.
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("queued.min.messages", "1")
        .set("fetch.wait.max.ms", "100")
        // Each look at what cannot be read is an error.
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

    fn look_at(&self, offset: i64) -> anyhow::Result<There> {
        if let Some(there) = self.prober.look_at(offset)? {
            return Ok(there);
        }
        // Of which batch it is, this one's reader says.
        self.prober.rest()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, self.partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)?;
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let mut trouble = None;
        while Instant::now() < deadline {
            match next_fetched(&self.consumer, POLL) {
                Some(Fetched::Record(_) | Fetched::End) => return Ok(There::Readable),
                Some(Fetched::Failed { offset, code, text }) if is_of_data(code) => {
                    return Ok(There::Unreadable { base: offset, error: text });
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
        /// A log of batches, of which the one at `at` cannot be read.
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
