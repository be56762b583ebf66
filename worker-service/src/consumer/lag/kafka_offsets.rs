//! What Kafka says of the partitions that this worker has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::TopicPartitionList;
use shared::kafka::{LogContext, PlainConsumer, is_without_topic};

use crate::consumer::group::Group;

/// How long Kafka may take for each question.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Where this has gone by, nothing more is asked after a question without an answer: a partition without a leader
/// does not hide the others, and a Kafka that is away does not take a wait for each.
const ASK_TIMEOUT: Duration = Duration::from_secs(7);
/// The most events of a client that are dropped at once.
const MOST_EVENTS: usize = 1_000;

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) first: i64,
    /// Its last stable offset: what is before it can be read.
    pub(super) stable: i64,
    /// Where its log ends, where that is known. What is between the two waits for a transaction to end.
    pub(super) log: Option<i64>,
}

/// What Kafka tells.
#[derive(Debug, Default)]
pub(super) struct KafkaOffsets {
    /// Where the partitions end, as far as Kafka says.
    pub(super) ends: BTreeMap<i32, Ends>,
    /// What it holds as committed for the group, where it was asked for that.
    pub(super) committed: Option<BTreeMap<i32, i64>>,
    /// How many partitions the topic has, where Kafka says.
    pub(super) partitions: Option<usize>,
    /// Whether it says that the topic is not there.
    pub(super) is_missing: bool,
    /// Why it does not tell all of it.
    pub(super) silent: Option<String>,
}

/// Asks for the ends of logs. The consumer cannot: it is told of what can be read alone.
pub struct LogEnds(Arc<PlainConsumer>);

impl LogEnds {
    /// A client without a group, which reads nothing.
    pub fn open(client: &ClientConfig) -> KafkaResult<Self> {
        Ok(Self(Arc::new(client.clone().set("isolation.level", "read_uncommitted").create_with_context(LogContext)?)))
    }
}

/// Asks Kafka, also where nothing is ours: a worker that lost its partitions has to know why.
pub(super) async fn ask(
    consumer: Arc<BaseConsumer<Group>>,
    log_ends: &LogEnds,
    topic: String,
    ours: Vec<i32>,
    with_committed: bool,
) -> KafkaOffsets {
    let log_ends = Arc::clone(&log_ends.0);
    let asked = tokio::task::spawn_blocking(move || {
        // What went wrong is told by the consumer, too.
        (0..MOST_EVENTS).take_while(|_| log_ends.poll(Duration::ZERO).is_some()).for_each(drop);
        let (mut told, group) = (KafkaOffsets::default(), consumer.context().group());
        match consumer.fetch_metadata(Some(&topic), TIMEOUT) {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                let sound = found.filter(|found| found.error().is_none());
                told.partitions = sound.map(|topic| topic.partitions().len());
                let error = found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
                told.is_missing = error.is_some_and(is_without_topic);
            }
            Err(error) => {
                told.silent = Some(format!("Kafka does not answer: {error}"));
                return told;
            }
        }
        let begin = Instant::now();
        for &partition in &ours {
            // First where the log ends: what is appended meanwhile must not seem to be unstable.
            let log = log_ends.fetch_watermarks(&topic, partition, TIMEOUT);
            match consumer.fetch_watermarks(&topic, partition, TIMEOUT) {
                Ok((first, stable)) => {
                    let not_returned = |error: &KafkaError| tracing::debug!(group, partition, %error, "Kafka does not return the log's end");
                    let log = log.inspect_err(not_returned);
                    told.ends.insert(partition, Ends { first, stable, log: log.ok().map(|(_, end)| end) });
                }
                Err(error) => {
                    tracing::debug!(group, partition, %error, "Kafka does not return the partition's end");
                    told.silent = Some(format!("Kafka does not return the end of partition {partition}: {error}"));
                    if begin.elapsed() >= ASK_TIMEOUT {
                        return told;
                    }
                }
            }
        }
        if with_committed {
            told.committed = committed(&consumer, &topic, &ours)
                .inspect_err(|error| tracing::debug!(group, %error, "Kafka does not return the committed offsets"))
                .ok();
        }
        told
    });
    asked.await.unwrap_or_default()
}

/// What the broker holds as committed; 0 where it holds nothing.
fn committed(consumer: &BaseConsumer<Group>, topic: &str, ours: &[i32]) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::new();
    for partition in ours {
        list.add_partition(topic, *partition);
    }
    let held = consumer.committed_offsets(list, TIMEOUT)?;
    let offsets = held.elements().into_iter().filter(|element| element.error().is_ok());
    Ok(offsets.map(|element| (element.partition(), element.offset().to_raw().unwrap_or(0).max(0))).collect())
}
