//! The consumer group: one thread polls, and every partition has a runner.
//!
//! Each partition's records go to a queue of its own, from which its runner takes them when it has
//! room. So a waiting partition holds up no other, and no fetched record is discarded.
//! The polling thread serves the group: rebalances, which run inside `poll`, and errors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message as _};
use shared::kafka;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::consumer::group::{Group, Run, SharedConsumer};
use crate::consumer::health::GroupHealth;

/// How long leaving the group may take: the batches under way in its partitions, and their last commit.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(13);
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How long to wait for a first connection before joining.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Consumes until `stop` is cancelled; blocks its thread. The consumer is shared as soon as it exists. An error is
/// caused by the settings or is fatal for the client: the process has to restart.
pub fn run(
    client: &ClientConfig,
    topic: &str,
    run: Run,
    health: GroupHealth,
    runtime: Handle,
    shared: &SharedConsumer,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut config = client.clone();
    config
        .set("group.id", health.group())
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "earliest")
        // The client's default, set explicitly because the lag depends on it: the end of a partition is then its last
        // stable offset.
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        // Only finished records are stored, and only stored offsets are committed.
        .set("enable.auto.offset.store", "false")
        .set("session.timeout.ms", "10000")
        .set("topic.metadata.refresh.interval.ms", "10000")
        // Bounds on prefetched records, for each partition. librdkafka counts only the bytes of values, so records with
        // large keys or headers need a bound on their number: it fetches again once fewer are queued. The scheduler
        // does not wait for that, because it holds two batches.
        .set("queued.max.messages.kbytes", "2048")
        .set("queued.min.messages", "8")
        .set("fetch.queue.backoff.ms", "1")
        .set("fetch.max.bytes", "8388608")
        // A fetch response has records of many partitions and is parsed as a whole. With a small limit, new records of
        // one partition do not wait long for the backlog of another.
        .set("max.partition.fetch.bytes", "524288")
        .set("fetch.wait.max.ms", "100");
    let group = Group::new(run, health, runtime.clone(), Arc::clone(shared));
    let consumer: Arc<BaseConsumer<Group>> =
        Arc::new(config.create_with_context(group).context("cannot create a Kafka client")?);
    let _ = shared.set(Arc::downgrade(&consumer));
    // Without a connection the client does not find the group's coordinator, and tries again only after its next timer,
    // up to a second later. An error is reported when it joins.
    let _ = consumer.fetch_metadata(Some(topic), CONNECT_TIMEOUT);
    consumer.subscribe(&[topic]).context("subscribing")?;

    let mut leaving: Option<Instant> = None;
    loop {
        if stop.is_cancelled() && leaving.is_none() {
            leaving = Some(Instant::now());
            // Revokes all partitions (the runners finish, and their offsets are committed), and then
            // leaves the group. Unsubscribing and dropping the consumer would race: the group would
            // wait for the session of the departed member to time out.
            if let Err(error) = consumer.close_queue() {
                tracing::warn!(group = consumer.context().group(), %error, "cannot leave the group");
            }
        }
        if let Some(since) = leaving
            && (consumer.closed() || since.elapsed() > LEAVE_TIMEOUT)
        {
            break;
        }
        // A handler that blocks its thread may block the one that drives timers and sockets, and no other thread takes
        // over before it is woken: all groups and the watchdog would stand still.
        runtime.spawn(std::future::ready(()));
        match consumer.poll(POLL_TIMEOUT) {
            None => {}
            Some(Ok(message)) => {
                // Every partition got its own queue before it was fetched from. A record here
                // would be applied out of order: better to restart from the last commit.
                anyhow::bail!(
                    "a record of partition {} at offset {} came from another partition's queue",
                    message.partition(),
                    message.offset()
                );
            }
            // The measurement of the lag reports this, with the topic's name.
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
            Some(Err(error)) => kafka::log_error(&error, "polling"),
        }
        if leaving.is_none() {
            consumer.context().assign_anew(&consumer);
        }
        let trouble = if leaving.is_none() { consumer.context().trouble() } else { None };
        let fatal =
            || consumer.client().fatal_error().map(|(code, why)| format!("the Kafka client has failed: {code}: {why}"));
        if let Some(trouble) = trouble.or_else(fatal) {
            consumer.context().end_all();
            anyhow::bail!(trouble);
        }
    }
    consumer.context().end_all();
    if consumer.closed() {
        kafka::detach(consumer);
    } else {
        tracing::warn!(
            group = consumer.context().group(),
            "Kafka does not answer: the group waits until this worker's session times out"
        );
        // Dropping the consumer would wait without a limit; it ends with the process.
        std::mem::forget(consumer);
    }
    Ok(())
}
