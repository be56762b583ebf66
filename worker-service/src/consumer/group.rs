//! The consumer's callbacks for its group: they start and end a runner for each partition assigned to this worker.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka;
use shared::runtime::lifecycle::no_result;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::consumer::health::GroupHealth;

/// The consumer, once it exists; weak, because it owns its group.
pub type SharedConsumer = Arc<OnceLock<Weak<BaseConsumer<Group>>>>;

/// A partition's records.
pub type Queue = PartitionQueue<Group>;

/// The facility of the client's log line for a failed commit that a runner requested: `commit_callback` is called only
/// for commits that the client makes by itself.
const COMMIT_FAILED: &str = "COMMITFAIL";
/// How long a revoked partition may take to finish the batch under way. Longer than a transaction's deadline and its
/// fence, much shorter than the group waits.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the last commit may then take. If Kafka does not answer, the client would wait for a minute, and the group
/// would wait for this worker.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an aborted runner may take until its next `await`.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// A partition that was assigned.
pub struct Assigned {
    pub group: Arc<str>,
    pub topic: String,
    pub partition: i32,
    pub queue: Queue,
    /// Notified when the queue is no longer empty.
    pub wake: Arc<Notify>,
    /// The consumer, for offsets.
    pub consumer: Arc<BaseConsumer<Group>>,
    /// Shared with the group and the measurement of its lag.
    pub signals: Arc<Signals>,
    /// Cancelled when the runner has to end.
    pub stop: CancellationToken,
}

/// Offsets and the restart request that a partition's runner shares with the group and the measurement of its lag.
/// An unknown offset is negative.
#[derive(Debug)]
pub struct Signals {
    /// The last offset that Kafka is known to hold for the group.
    pub committed: AtomicI64,
    /// The last offset that was stored for the group's next commit.
    pub stored: AtomicI64,
    /// The partition's last stable offset, as last measured: it can be read up to there.
    pub stable_end: AtomicI64,
    /// The end of the last range skipped by an operator that was reported.
    pub skipped_to: AtomicI64,
    /// Asks the runner to drop its work and to restart from the stored offset.
    pub restart: Notify,
    /// How often it restarted.
    pub restarts: AtomicU64,
    /// Asks the thread that polls to assign the partition anew.
    pub assign_anew: Mutex<Option<AssignAnew>>,
}

/// The client does not fetch a partition: it has to be assigned anew.
#[derive(Debug)]
pub struct AssignAnew {
    /// Where fetching begins.
    pub at: Offset,
    /// Told when it was tried.
    pub done: oneshot::Sender<()>,
}

impl Default for Signals {
    fn default() -> Self {
        let [committed, stored, stable_end, skipped_to] = [(); 4].map(|()| AtomicI64::new(-1));
        let (restart, restarts) = (Notify::new(), AtomicU64::new(0));
        Self { committed, stored, stable_end, skipped_to, restart, restarts, assign_anew: Mutex::default() }
    }
}

/// Makes the runner of an assigned partition. The group knows nothing else about its handler.
pub type Run = Box<dyn Fn(Assigned) -> BoxFuture<'static, ()> + Send + Sync>;

/// The consumer's context: starts and ends runners as partitions are assigned and revoked.
pub struct Group {
    run: Run,
    health: GroupHealth,
    runtime: Handle,
    consumer: SharedConsumer,
    runners: Mutex<HashMap<i32, PartitionHandle>>,
    /// A runner no longer responds: the process has to restart.
    hangs: AtomicBool,
}

struct PartitionHandle {
    topic: String,
    stop: CancellationToken,
    signals: Arc<Signals>,
    /// How often the runner had restarted at the last request.
    asked_to_restart: Option<u64>,
    task: JoinHandle<()>,
}

impl Group {
    /// A group whose consumer does not exist yet.
    pub(super) fn new(run: Run, health: GroupHealth, runtime: Handle, consumer: SharedConsumer) -> Self {
        Self { run, health, runtime, consumer, runners: Mutex::default(), hangs: AtomicBool::new(false) }
    }

    /// The group's id.
    pub fn group(&self) -> &str {
        self.health.group()
    }

    fn runners(&self) -> std::sync::MutexGuard<'_, HashMap<i32, PartitionHandle>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the process has to restart: a runner ended by itself, which is a bug, or no longer responds. Otherwise the
    /// partition's records would not be consumed.
    pub(super) fn trouble(&self) -> Option<String> {
        let runners = self.runners();
        let ended = runners.iter().find(|(_, handle)| handle.task.is_finished());
        let ended = ended.map(|(partition, _)| format!("the runner of partition {partition} failed"));
        let hangs = || "a partition's runner no longer responds".to_owned();
        ended.or_else(|| self.hangs.load(Ordering::Relaxed).then(hangs))
    }

    fn begin(&self, partitions: &TopicPartitionList) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        for element in partitions.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            let earlier = self.runners().remove(&partition);
            if let Some(earlier) = earlier {
                self.drop_runner(partition, earlier);
                self.health.gone(partition);
            }
            // This comes before the assignment, and so before anything is fetched.
            let Some(mut queue) = consumer.split_partition_queue(&topic, partition) else {
                tracing::error!(
                    group = self.group(),
                    topic,
                    partition,
                    "the Kafka client has no queue for an assigned partition"
                );
                continue;
            };
            let wake = Arc::new(Notify::new());
            let waker = Arc::clone(&wake);
            queue.set_nonempty_callback(move || waker.notify_one());
            let stop = CancellationToken::new();
            let signals = Arc::new(Signals::default());
            let assigned = Assigned {
                group: self.health.group().into(),
                topic: topic.clone(),
                partition,
                queue,
                wake,
                consumer: Arc::clone(&consumer),
                signals: Arc::clone(&signals),
                stop: stop.clone(),
            };
            let task = self.runtime.spawn((self.run)(assigned));
            self.runners().insert(partition, PartitionHandle { topic, stop, signals, asked_to_restart: None, task });
            tracing::info!(group = self.group(), partition, "assigned");
        }
    }

    /// Partitions are revoked: their batches under way are finished, within a time limit, and committed.
    fn end(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let ending: Vec<_> = {
            let mut runners = self.runners();
            let ids = partitions.elements().into_iter().map(|element| element.partition());
            ids.filter_map(|partition| Some((partition, runners.remove(&partition)?))).collect()
        };
        if lost {
            // Another worker may own them already: late results are dropped.
            for (partition, handle) in ending {
                self.drop_runner(partition, handle);
                self.health.lost_to_group(partition);
                tracing::warn!(group = self.group(), partition, "lost");
            }
            return;
        }
        self.finish(ending);
        self.commit_last();
    }

    /// Commits the stored offsets and waits for that. The client has no timeout for it, so another thread does it, and
    /// is abandoned if it takes too long.
    fn commit_last(&self) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let group = self.group();
        let committing = self.runtime.spawn_blocking(move || consumer.commit_consumer_state(CommitMode::Sync));
        let error = match self.runtime.block_on(async { tokio::time::timeout(LAST_COMMIT_TIMEOUT, committing).await }) {
            Ok(Ok(Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) | Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(group, error, "the last commit failed: some records will be read again");
    }

    fn finish(&self, ending: Vec<(i32, PartitionHandle)>) {
        let group = self.group();
        for (_, handle) in &ending {
            handle.stop.cancel();
        }
        let deadline = Instant::now() + REVOKE_TIMEOUT;
        for (partition, mut handle) in ending {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = self.runtime.block_on(async { tokio::time::timeout(left, &mut handle.task).await });
            match ended {
                Ok(Ok(())) => tracing::info!(group, partition, "revoked"),
                Ok(Err(error)) => {
                    tracing::error!(group, partition, error = %no_result(error), "the partition's runner failed")
                }
                Err(_) => {
                    self.drop_runner(partition, handle);
                    tracing::warn!(group, partition, "unfinished records are dropped, and will be read again");
                }
            }
            self.health.gone(partition);
        }
    }

    /// Aborts a runner and waits until it ends, at its next `await`. Until then it may take records out of the
    /// partition's queue, which the next runner would miss if the partition came back.
    fn drop_runner(&self, partition: i32, handle: PartitionHandle) {
        handle.task.abort();
        if self.runtime.block_on(async { tokio::time::timeout(DROP_TIMEOUT, handle.task).await }).is_err() {
            tracing::error!(group = self.group(), partition, "the partition's runner does not stop");
            self.hangs.store(true, Ordering::Relaxed);
        }
    }

    /// The offsets that are stored for the group's next commit, by partition.
    pub fn stored(&self) -> BTreeMap<i32, i64> {
        let runners = self.runners();
        let stored =
            runners.iter().map(|(partition, handle)| (*partition, handle.signals.stored.load(Ordering::Relaxed)));
        stored.filter(|(_, offset)| *offset >= 0).collect()
    }

    /// Notes a partition's last stable offset.
    pub fn ends_at(&self, partition: i32, stable_end: i64) {
        if let Some(handle) = self.runners().get(&partition) {
            handle.signals.stable_end.store(stable_end, Ordering::Relaxed);
        }
    }

    /// The broker's committed offset is behind the stored one: the runner commits again.
    pub fn holds_less(&self, partition: i32, committed: i64) {
        if let Some(handle) = self.runners().get(&partition) {
            handle.signals.committed.store(committed, Ordering::Relaxed);
        }
    }

    /// Restarts a partition's runner. If it did not restart after the previous request, it no longer responds, and the
    /// process has to restart.
    pub fn restart(&self, partition: i32) {
        let mut runners = self.runners();
        let Some(handle) = runners.get_mut(&partition) else { return };
        let begun = handle.signals.restarts.load(Ordering::Relaxed);
        if handle.asked_to_restart.replace(begun) == Some(begun) {
            tracing::error!(group = self.group(), partition, "the partition's runner does not respond");
            self.hangs.store(true, Ordering::Relaxed);
        } else {
            handle.signals.restart.notify_one();
        }
    }

    /// Takes partitions from the client, and gives them back, where their runners asked for it. The group does not
    /// notice. Call it between polls, because rebalances run inside `poll`.
    ///
    /// If the client's question for committed offsets fails during a rebalance, it may never ask again, and never fetch
    /// these partitions, nor those that are assigned later (`rd_kafka_assignment_handle_OffsetFetch` of librdkafka
    /// 2.12). It does not ask for partitions that are assigned with an offset.
    pub(super) fn assign_anew(&self, consumer: &BaseConsumer<Self>) {
        for (&partition, handle) in &*self.runners() {
            let asked = handle.signals.assign_anew.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(AssignAnew { at, done }) = asked else { continue };
            let mut list = TopicPartitionList::with_capacity(1);
            let assigned = list.add_partition_offset(&handle.topic, partition, at).and_then(|()| {
                // This fails if the client does not have it, as after an earlier attempt that failed in between.
                let _ = consumer.incremental_unassign(&list);
                consumer.incremental_assign(&list)
            });
            let group = self.group();
            match assigned {
                Ok(()) => tracing::warn!(group, partition, "assigned anew: the client did not fetch the partition"),
                Err(error) => tracing::warn!(group, partition, %error, "the partition cannot be assigned anew yet"),
            }
            // The runner may have been told to stop.
            let _ = done.send(());
        }
    }

    pub(super) fn end_all(&self) {
        let all = self.runners().drain().collect();
        self.finish(all);
    }

    fn tell_failed_commit(&self, error: &str) {
        metrics::counter!("commits_failed_total", "group" => self.health.group().to_owned()).increment(1);
        tracing::warn!(group = self.group(), error, "a commit failed: it is repeated with the next one");
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
            Rebalance::Error(error) => tracing::warn!(group = self.group(), %error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // A revocation is not the end of a rebalance. Every rebalance ends with an assignment, which may be empty.
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.health.joined();
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let runners = self.runners();
        for element in offsets.elements() {
            if let (Ok(()), Some(offset), Some(handle)) =
                (element.error(), element.offset().to_raw(), runners.get(&element.partition()))
                && result.is_ok()
                && offset >= 0
            {
                handle.signals.committed.store(offset, Ordering::Relaxed);
            }
        }
        drop(runners);
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => self.tell_failed_commit(&error.to_string()),
        }
    }
}
