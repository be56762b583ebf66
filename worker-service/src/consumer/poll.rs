//! The consumer group: one thread polls, and every partition has a lane.
//!
//! Each partition's records go to a queue of its own, from which its driver takes them when it has
//! room. So a partition that waits holds up no other, and nothing that was fetched is thrown away.
//! The polling thread serves the group: rebalances, which run inside `poll`, and errors.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Message};
use shared::kafka;
use shared::runtime::lifecycle::no_result;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::consumer::health::GroupHealth;
use crate::consumer::partition::{Assigned, Run, Signals};

/// A partition's records.
pub type Queue = PartitionQueue<Group>;

/// What the client logs where a commit fails that a runner asked for: `commit_callback` is told of those alone that it
/// makes by itself.
const COMMIT_FAILED: &str = "COMMITFAIL";
/// How long a revoked partition may take to finish what is under way. Longer than a transaction's
/// deadline and its fence, much shorter than the group waits.
const REVOKE: Duration = Duration::from_secs(8);
/// How long its last commit may then take. Where Kafka does not answer the client would wait for a
/// minute, and the group for us.
const LAST_COMMIT: Duration = Duration::from_secs(3);
/// How long leaving the group may take, with both.
const LEAVE: Duration = Duration::from_secs(13);
/// How long a runner that is dropped may take until it is gone: as long as it does not wait for anything.
const DROP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// The group's side of the consumer: starts and ends lanes as partitions come and go.
pub struct Group {
    run: Run,
    health: GroupHealth,
    runtime: Handle,
    /// Set once the consumer exists; weak, because the consumer owns this.
    consumer: OnceLock<Weak<BaseConsumer<Self>>>,
    lanes: Mutex<HashMap<i32, PartitionHandle>>,
    /// A runner does not react any more, and may be doing anything: only the process's end helps.
    hangs: AtomicBool,
}

struct PartitionHandle {
    stop: watch::Sender<bool>,
    signals: Arc<Signals>,
    /// How often it had begun anew when it was last asked to.
    asked_anew: Option<u64>,
    task: JoinHandle<()>,
}

/// Consumes until `stop` says so; blocks its thread. The consumer is shown as soon as there is one.
///
/// # Errors
/// Wrong settings, or a fatal error of the client: the process has to start anew.
pub fn run(
    client: &ClientConfig,
    topic: &str,
    run: Run,
    health: GroupHealth,
    runtime: Handle,
    shown: &OnceLock<Weak<BaseConsumer<Group>>>,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut config = client.clone();
    config
        .set("group.id", health.group())
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "earliest")
        // The client's default, said here because the lag is counted by it: what is asked for the end of a
        // partition is its last stable offset.
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        // Only what had its effect is stored, and only what is stored is committed.
        .set("enable.auto.offset.store", "false")
        .set("session.timeout.ms", "10000")
        .set("topic.metadata.refresh.interval.ms", "10000")
        // Bounds of what is fetched ahead, for each partition. librdkafka counts the bytes of values alone, so that
        // records with large keys or headers need a bound on their number: with fewer than these in the queue it
        // fetches again, and the lane, which has two batches, does not wait for that.
        .set("queued.max.messages.kbytes", "2048")
        .set("queued.min.messages", "8")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.max.bytes", "8388608")
        // An answer of Kafka's holds records of many partitions, and is taken apart as a whole: so that what
        // just came does not wait long for a piece of another one's backlog.
        .set("max.partition.fetch.bytes", "262144")
        .set("fetch.wait.max.ms", "100");
    let group = Group {
        run,
        health,
        runtime,
        consumer: OnceLock::new(),
        lanes: Mutex::default(),
        hangs: AtomicBool::new(false),
    };
    let consumer: Arc<BaseConsumer<Group>> = Arc::new(config.create_with_context(group).context("the Kafka settings")?);
    // It was empty: this is the only place that sets it.
    let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
    consumer.subscribe(&[topic]).context("subscribing")?;
    let _ = shown.set(Arc::downgrade(&consumer));

    let mut leaving: Option<Instant> = None;
    loop {
        if *stop.borrow() && leaving.is_none() {
            leaving = Some(Instant::now());
            // Revokes everything (the lanes finish, and their offsets are committed), and then
            // leaves the group. Unsubscribing and dropping the consumer would race: the group would
            // wait out the session of a member that is gone.
            if let Err(error) = consumer.close_queue() {
                tracing::warn!(%error, "leaving the group");
            }
        }
        if let Some(since) = leaving
            && (consumer.closed() || since.elapsed() > LEAVE)
        {
            break;
        }
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                // Every partition was given its own queue before it was fetched from. A record here
                // would be applied out of order: better to start anew from the last commit.
                anyhow::bail!(
                    "a record of partition {} at {} came by the wrong queue",
                    message.partition(),
                    message.offset()
                );
            }
            Some(Err(error)) => consumer.context().complain(&error),
        }
        if leaving.is_none()
            && let Some(partition) = consumer.context().broken()
        {
            consumer.context().end_all();
            anyhow::bail!("the lane of partition {partition} broke down");
        }
        if leaving.is_none() && consumer.context().hangs.load(Ordering::Relaxed) {
            consumer.context().end_all();
            anyhow::bail!("the runner of a partition does not react any more");
        }
        if let Some((code, why)) = consumer.client().fatal_error() {
            consumer.context().end_all();
            anyhow::bail!("the Kafka client cannot go on: {code}: {why}");
        }
    }
    consumer.context().end_all();
    if !consumer.closed() {
        tracing::warn!("Kafka does not answer: the group waits until our session has ended");
        // To be dropped it would wait for as long as it takes; it ends with the process.
        std::mem::forget(consumer);
    }
    Ok(())
}

impl Group {
    fn lanes(&self) -> std::sync::MutexGuard<'_, HashMap<i32, PartitionHandle>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition whose driver ended although nobody told it to: a bug, after which nobody would
    /// take its records, and nobody would notice.
    fn broken(&self) -> Option<i32> {
        self.lanes().iter().find(|(_, lane)| lane.task.is_finished()).map(|(partition, _)| *partition)
    }

    fn begin(&self, partitions: &TopicPartitionList) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        for element in partitions.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            let earlier = self.lanes().remove(&partition);
            if let Some(earlier) = earlier {
                self.drop_lane(partition, earlier);
                self.health.gone(partition);
            }
            // Before it is assigned, and so before anything is fetched.
            let Some(mut queue) = consumer.split_partition_queue(&topic, partition) else {
                tracing::error!(topic, partition, "a partition without a queue");
                continue;
            };
            let wake = Arc::new(Notify::new());
            let waker = Arc::clone(&wake);
            queue.set_nonempty_callback(move || waker.notify_one());
            let (stop, stopped) = watch::channel(false);
            let signals = Arc::new(Signals::default());
            let assigned = Assigned {
                topic,
                partition,
                queue,
                wake,
                consumer: Arc::clone(&consumer),
                signals: Arc::clone(&signals),
                stop: stopped,
            };
            let task = self.runtime.spawn((self.run)(assigned));
            self.lanes().insert(partition, PartitionHandle { stop, signals, asked_anew: None, task });
            tracing::info!(partition, "assigned");
        }
    }

    /// Lets partitions go: what is under way is finished, within a bound, and committed.
    fn end(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let ending: Vec<_> = {
            let mut lanes = self.lanes();
            let ids = partitions.elements().into_iter().map(|element| element.partition());
            ids.filter_map(|partition| Some((partition, lanes.remove(&partition)?))).collect()
        };
        if lost {
            // Somebody else owns them already: results that come late are dropped.
            for (partition, lane) in ending {
                self.drop_lane(partition, lane);
                self.health.lost_to_group(partition);
                tracing::warn!(partition, "lost");
            }
            return;
        }
        self.finish(ending);
        self.commit_last();
    }

    /// Commits what is stored, and waits for that, within a bound that the client does not have: so it
    /// is done by another thread, which is left alone where it takes longer.
    fn commit_last(&self) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let committing = self.runtime.spawn_blocking(move || consumer.commit_consumer_state(CommitMode::Sync));
        match self.runtime.block_on(async { tokio::time::timeout(LAST_COMMIT, committing).await }) {
            Ok(Ok(Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last commit failed: some records will come again"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(error = "no answer", "the last commit failed: some records will come again");
            }
        }
    }

    fn finish(&self, ending: Vec<(i32, PartitionHandle)>) {
        for (_, lane) in &ending {
            let _ = lane.stop.send(true);
        }
        let deadline = Instant::now() + REVOKE;
        for (partition, mut lane) in ending {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = self.runtime.block_on(async { tokio::time::timeout(left, &mut lane.task).await });
            match ended {
                Ok(Ok(())) => tracing::info!(partition, "revoked"),
                Ok(Err(error)) => tracing::error!(partition, error = %no_result(error), "a lane broke down"),
                Err(_) => {
                    self.drop_lane(partition, lane);
                    tracing::warn!(partition, "what was under way is dropped, and will come again");
                }
            }
            self.health.gone(partition);
        }
    }

    /// Drops a lane with what is under way in it, and waits until it is gone, which it is at its next
    /// `await`: until then it may take records out of the partition's queue, which the partition's
    /// next lane would miss, should it come back to us.
    fn drop_lane(&self, partition: i32, lane: PartitionHandle) {
        lane.task.abort();
        if self.runtime.block_on(async { tokio::time::timeout(DROP, lane.task).await }).is_err() {
            tracing::error!(partition, "the runner of the partition does not end");
            self.hangs.store(true, Ordering::Relaxed);
        }
    }

    /// By partition, what is stored for the group's next commit.
    pub fn stored(&self) -> BTreeMap<i32, i64> {
        let lanes = self.lanes();
        let stored = lanes.iter().map(|(partition, lane)| (*partition, lane.signals.stored.load(Ordering::Relaxed)));
        stored.filter(|(_, offset)| *offset >= 0).collect()
    }

    /// Up to where a partition can be read.
    pub fn ends_at(&self, partition: i32, stable_end: i64) {
        if let Some(lane) = self.lanes().get(&partition) {
            lane.signals.stable_end.store(stable_end, Ordering::Relaxed);
        }
    }

    /// What the broker holds as committed, though more was stored: its runner commits again.
    pub fn holds_less(&self, partition: i32, committed: i64) {
        if let Some(lane) = self.lanes().get(&partition) {
            lane.signals.committed.store(committed, Ordering::Relaxed);
        }
    }

    /// Has a partition's runner begin anew. Where it did not do so when it was asked before, it does not react to
    /// anything, and the process has to start anew.
    pub fn begin_anew(&self, partition: i32) {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(&partition) else { return };
        let begun = lane.signals.begun_anew.load(Ordering::Relaxed);
        if lane.asked_anew.replace(begun) == Some(begun) {
            tracing::error!(partition, "the runner of the partition does not react");
            self.hangs.store(true, Ordering::Relaxed);
        } else {
            lane.signals.begin_anew.notify_one();
        }
    }

    fn end_all(&self) {
        let all = self.lanes().drain().collect();
        self.finish(all);
    }

    fn tell_failed_commit(&self, error: &str) {
        metrics::counter!("commits_failed_total", "group" => self.health.group().to_owned()).increment(1);
        tracing::warn!(error, "a commit failed: it is repeated with the next one");
    }

    fn complain(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            // Who measures the lag says so, with its name.
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
            _ => kafka::log_error(error, "polling"),
        }
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        if what == COMMIT_FAILED {
            self.tell_failed_commit(detail);
        } else {
            kafka::log(level, what, detail);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log_error(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.begin(partitions),
            Rebalance::Revoke(partitions) => self.end(consumer, partitions),
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // What is told after a revocation is only that it is over; every rebalance ends with what is ours from now on,
        // which may be nothing.
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.health.joined();
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let lanes = self.lanes();
        for element in offsets.elements() {
            if let (Ok(()), Some(offset), Some(lane)) =
                (element.error(), element.offset().to_raw(), lanes.get(&element.partition()))
                && result.is_ok()
                && offset >= 0
            {
                lane.signals.committed.store(offset, Ordering::Relaxed);
            }
        }
        drop(lanes);
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => self.tell_failed_commit(&error.to_string()),
        }
    }
}
