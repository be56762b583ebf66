//! Reads the end of a topic, without a group, and wakes the requests that wait for its events.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::{LogContext, PlainConsumer, Record, header};

use super::locked;
use super::waiters::Waiters;

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
/// How long it reads on when nobody is held. The next reader finds partitions that were added meanwhile.
const IDLE: Duration = Duration::from_secs(60);

/// Begins to read, on a thread of its own: it blocks.
pub(super) fn begin(client: ClientConfig, topic: String, waiters: Arc<Mutex<Waiters>>) {
    let of_thread = Arc::clone(&waiters);
    let run = move || {
        if let Err(error) = read(client, &topic, &of_thread) {
            let error = format!("{error:#}");
            tracing::warn!(topic, error, "cannot read the end of the topic: held requests read every few seconds");
            locked(&of_thread).fail_reader();
        }
    };
    if let Err(error) = thread::Builder::new().name("tail".to_owned()).spawn(run) {
        tracing::warn!(%error, "cannot start a thread: held requests read every few seconds");
        locked(&waiters).fail_reader();
    }
}

/// Reads until nobody has been held for a while.
fn read(mut settings: ClientConfig, topic: &str, waiters: &Mutex<Waiters>) -> anyhow::Result<()> {
    settings
        // The client needs a name. The group is not joined, and nothing is committed.
        .set("group.id", "api-service-tail")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.wait.max.ms", "100");
    shared::kafka::set_default(&mut settings, "client.id", "api-service-tail");
    let consumer: PlainConsumer = settings.create_with_context(LogContext).context("cannot create a Kafka client")?;
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
    let found = metadata.topics().first().context("no answer")?;
    ensure!(found.error().is_none() && !found.partitions().is_empty(), "the topic does not exist");
    let mut list = TopicPartitionList::new();
    let mut left = HashSet::new();
    for partition in found.partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::End)?;
        left.insert(partition.id());
    }
    consumer.assign(&list)?;
    let mut used = Instant::now();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => wake(&Record::of(message), waiters),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                left.remove(&partition);
                if left.is_empty() {
                    locked(waiters).at_end();
                }
            }
            // librdkafka connects again by itself.
            Some(Err(error)) => tracing::debug!(topic, %error, "the end of the topic"),
            None => {}
        }
        let mut waiters = locked(waiters);
        if waiters.len() > 0 && !waiters.has_ended() {
            used = Instant::now();
        } else if (used.elapsed() >= IDLE || waiters.has_ended()) && waiters.end_reader() {
            return Ok(());
        }
    }
}

fn wake(record: &Record, waiters: &Mutex<Waiters>) {
    let text = |name: &str| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    if let (Some(event_type), Some(subject)) = (text(header::TYPE), text(header::SUBJECT)) {
        locked(waiters).wake(event_type, subject);
    }
}
