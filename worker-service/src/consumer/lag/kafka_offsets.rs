//! Asks Kafka for the offsets of this worker's partitions.

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

/// How long Kafka may take for each request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// After this time an unanswered request is the last one. So a partition without a leader does not hide the others, and
/// if Kafka is away, not every partition costs a timeout.
const ASK_TIMEOUT: Duration = Duration::from_secs(7);
/// The most client events that are dropped at once.
const MOST_EVENTS: usize = 1_000;

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) first: i64,
    /// The last stable offset: everything before it can be read.
    pub(super) stable: i64,
    /// The end of the log, if known. Records between the two wait for a transaction to end.
    pub(super) log: Option<i64>,
}

/// Kafka's answers.
#[derive(Debug, Default)]
pub(super) struct KafkaOffsets {
    /// The ends of the partitions, as far as Kafka returned them.
    pub(super) ends: BTreeMap<i32, Ends>,
    /// The group's committed offsets, if they were requested.
    pub(super) committed: Option<BTreeMap<i32, i64>>,
    /// How many partitions the topic has, if Kafka returned that.
    pub(super) partitions: Option<usize>,
    /// Whether Kafka says that the topic does not exist.
    pub(super) is_missing: bool,
    /// Why an answer is missing, if one is.
    pub(super) silent: Option<String>,
}

/// Asks for the ends of logs. The consumer cannot do that: it only gets last stable offsets.
pub struct LogEnds(Arc<PlainConsumer>);

impl LogEnds {
    /// Opens a client without a group, which reads nothing.
    pub fn open(client: &ClientConfig) -> KafkaResult<Self> {
        Ok(Self(Arc::new(client.clone().set("isolation.level", "read_uncommitted").create_with_context(LogContext)?)))
    }
}

/// Asks Kafka, even if no partition is assigned: a worker that lost its partitions has to know why.
pub(super) async fn ask(
    consumer: Arc<BaseConsumer<Group>>,
    log_ends: &LogEnds,
    topic: String,
    ours: Vec<i32>,
    with_committed: bool,
) -> KafkaOffsets {
    let log_ends = Arc::clone(&log_ends.0);
    let asked = tokio::task::spawn_blocking(move || {
        // Drops this client's error events: the consumer reports the same errors.
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
            // The log's end comes first: records appended between the two requests must not seem to be unstable.
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

/// The committed offsets; 0 for a partition without one.
fn committed(consumer: &BaseConsumer<Group>, topic: &str, ours: &[i32]) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::new();
    for partition in ours {
        list.add_partition(topic, *partition);
    }
    let held = consumer.committed_offsets(list, TIMEOUT)?;
    let offsets = held.elements().into_iter().filter(|element| element.error().is_ok());
    Ok(offsets.map(|element| (element.partition(), element.offset().to_raw().unwrap_or(0).max(0))).collect())
}
