//! Runs a partition: hands records to its scheduler, performs the scheduler's actions, and stores the offset before
//! which every record is finished.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::unreadable::is_unreadable;
use shared::kafka::{Record, header};
use shared::runtime::config::AccessLog;
use shared::runtime::lifecycle::no_result;
use shared::store::Store;

use crate::consumer::apply::Applier;
use crate::consumer::budget::{ByteBudget, Share};
use crate::consumer::event_log::{self, FailedBatch};
use crate::consumer::group::{Assigned, Group, Run};
use crate::consumer::handler::Handler;
use crate::consumer::health::GroupHealth;
use crate::consumer::seek::Skipped;
use crate::dead_letters::producer::DeadLetters;
use crate::scheduler::{Action, Scheduler, Settings};
use crate::source::Source;

use self::batch_numbering::Step;
pub use self::gap_reader::GapReader;
use self::gaps::Gaps;
use self::offset_tracker::OffsetTracker;
use self::pause::Pause;

mod batch_numbering;
mod empty_offsets;
mod gap_reader;
mod gaps;
mod malformed;
mod offset_tracker;
mod panic_guard;
mod pause;
mod restart;
mod tail;

/// The dependencies of all runners of a handler.
pub struct RunnerDependencies<H> {
    pub client: ClientConfig,
    pub source: Source,
    pub store: Store,
    pub read: fn(&mut BorrowedMessage<'_>) -> Record,
    pub applier: Applier<H>,
    pub access_log: AccessLog,
    pub dead_letters: DeadLetters,
    pub gap_reader: GapReader,
    pub budget: ByteBudget,
    pub health: GroupHealth,
}

/// How often a paused runner asks whether an operator resumed it, and every runner polls its queue without being
/// notified.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// The most records taken in at once: two batches, as many as a scheduler has room for.
const MOST_AT_ONCE: usize = 2_000;
/// How long librdkafka may take to seek.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// Records taken in between two polls of the transaction under way.
const INTAKE_CHUNK: usize = 32;
/// A batch of fewer events is a small one.
const SMALL_BATCH: usize = 100;
/// The longest time from the beginning of a small batch to the next one.
const LONGEST_INTERVAL: Duration = Duration::from_millis(10);
/// The least such time, in times of what the batch took: a third of the time goes to small batches.
const INTERVAL: u32 = 3;

/// How long after the beginning of a small batch, which took this long, the next one begins. A transaction costs about as
/// much for one event as for twenty, so events that come one by one are collected: for longer on a busy machine, where a
/// batch takes longer. Neither a single event nor a backlog waits.
fn interval(took: Duration) -> Duration {
    took.saturating_mul(INTERVAL).min(LONGEST_INTERVAL)
}

/// The runner of a partition. Dropping it cancels the work under way.
pub struct PartitionRunner<H> {
    assigned: Assigned,
    dependencies: Arc<RunnerDependencies<H>>,
    share: Share,
}

impl<H> Deref for PartitionRunner<H> {
    type Target = Assigned;

    fn deref(&self) -> &Assigned {
        &self.assigned
    }
}

/// Creates the function that runs a handler's partitions.
pub fn runner<H: Handler>(dependencies: Arc<RunnerDependencies<H>>) -> Run {
    Box::new(move |assigned| {
        let share = dependencies.budget.join();
        PartitionRunner { assigned, dependencies: Arc::clone(&dependencies), share }.run().boxed()
    })
}

impl<H: Handler> PartitionRunner<H> {
    /// Runs a scheduler from the group's committed offset until it is told to stop.
    async fn run_scheduler(&self, from: Option<i64>, gaps: &mut Gaps) {
        let started = Instant::now();
        let settings = Settings { batch_records: H::BATCH, ..Settings::default() };
        let mut scheduler = Scheduler::new(settings, fastrand::u64(..));
        // If an earlier scheduler panicked, its records are gone.
        self.share.holds(0);
        self.dependencies.health.begun(self.partition, from);
        let mut tracker = OffsetTracker::new(from, gaps);
        let mut pause = self.known_pause(&mut scheduler, started).await;
        let mut next_batch: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            if let Some(at) = next_batch.take() {
                // Records gather in the queue.
                self.sleep(at.saturating_duration_since(Instant::now())).await;
            }
            let more = self.take_in(&mut scheduler, &mut tracker, MOST_AT_ONCE);
            self.return_where_due(&mut scheduler, &mut tracker).await;
            match scheduler.next(started.elapsed()) {
                Action::Apply(batch) => {
                    let began = Instant::now();
                    let result = self.taking_in(self.apply_whole(&batch), &mut scheduler, &mut tracker).await;
                    next_batch = (batch.len() < SMALL_BATCH).then(|| began + interval(began.elapsed()));
                    let failure = result.as_ref().err().and_then(|error| {
                        self.aside(|| FailedBatch::of(&batch, error, self.dependencies.access_log))?
                    });
                    let after = scheduler.applied(batch, result, started.elapsed());
                    if let (Some(failure), Some(after)) = (failure, after) {
                        self.aside(|| failure.log(&H::LINES, &self.group, after, scheduler.held_full().is_some()));
                    }
                }
                Action::Probe(bytes) => {
                    let result = self.taking_in(self.probe(bytes), &mut scheduler, &mut tracker).await;
                    scheduler.probed(result, started.elapsed());
                }
                Action::DeadLetter(letters) => {
                    let sent = self.dependencies.dead_letters.send(letters).await;
                    for (letter, _) in sent.iter().filter(|(_, result)| result.is_ok()) {
                        self.aside(|| event_log::dead_letter(&H::LINES, &self.group, letter, &H::SPEC.stream));
                        self.dependencies.health.dead_letter(letter.reason);
                    }
                    scheduler.dead_lettered(sent, started.elapsed());
                }
                Action::Pause => {
                    tracing::error!(
                        group = &*self.group,
                        partition = self.partition,
                        "too many dead letters: paused until `worker-service resume`"
                    );
                    // At once: the partition's next owner has to know.
                    pause = self.look_at_pause(Pause::ToWrite, &mut scheduler).await;
                }
                Action::Wait(until) => {
                    if more {
                        // The records that came in were skipped, and the next ones may be, too.
                        tokio::task::yield_now().await;
                    } else if !self.move_on(&mut scheduler, &mut tracker).await {
                        let until = until
                            .map_or(IDLE_INTERVAL, |until| until.saturating_sub(started.elapsed()).min(IDLE_INTERVAL));
                        tokio::select! {
                            () = self.wake.notified(), if scheduler.has_room() => {}
                            () = self.share.room(), if self.share.is_refused() => {}
                            () = tokio::time::sleep(until) => {}
                            () = self.stop.cancelled() => {}
                        }
                    }
                    pause = self.look_at_pause(pause, &mut scheduler).await;
                }
            }
            self.share.holds(scheduler.bytes());
            self.dependencies.health.update(self.partition, &scheduler, started);
            tracker.store(self, &scheduler);
            self.look_for_losses(tracker.gaps).await;
        }
    }

    /// Sleeps, or returns early when the runner has to stop.
    async fn sleep(&self, duration: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(duration)).await;
    }

    /// Calls a blocking function of the client on another thread.
    async fn ask_client<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Group>, &str, i32) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
        tokio::task::spawn_blocking(move || question(&consumer, &topic, partition)).await.map_err(no_result)
    }

    /// Makes the client seek to an offset. Records that were already fetched from there on are fetched again.
    async fn seek(&self, to: Offset) -> anyhow::Result<()> {
        Ok(self
            .ask_client(move |consumer, topic, partition| consumer.seek(topic, partition, to, SEEK_TIMEOUT))
            .await??)
    }

    /// Runs a transaction. Meanwhile the next batch is collected, a few records at a time, so that PostgreSQL's answers
    /// are handled soon.
    async fn taking_in<T>(
        &self,
        work: impl Future<Output = T>,
        scheduler: &mut Scheduler<H::Event>,
        tracker: &mut OffsetTracker<'_>,
    ) -> T {
        let mut work = pin!(work);
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = tokio::task::yield_now(), if more => {}
                () = self.wake.notified(), if !more && scheduler.has_room() => {}
                () = self.share.room(), if !more && self.share.is_refused() => {}
            }
            more = self.take_in(scheduler, tracker, INTAKE_CHUNK);
        }
    }

    /// Takes in at most `most` records, as far as there is room. True if there may be more.
    fn take_in(&self, scheduler: &mut Scheduler<H::Event>, tracker: &mut OffsetTracker<'_>, most: usize) -> bool {
        for _ in 0..most {
            if !scheduler.has_room() || !self.share.has_room() || tracker.return_to.is_some() {
                return false;
            }
            let taken = match tracker.put_off.take() {
                Some(taken) if scheduler.is_empty() => {
                    scheduler.restart();
                    taken
                }
                Some(taken) => {
                    tracker.put_off = Some(taken);
                    return false;
                }
                None => match self.queue.poll(Duration::ZERO) {
                    None => return false,
                    Some(Ok(message)) => self.read(message),
                    Some(Err(error)) => {
                        self.note_unread(tracker, &error);
                        continue;
                    }
                },
            };
            if tracker.unreadable.take().is_some() {
                self.dependencies.health.can_read(self.partition);
            }
            let offset = taken.record.offset;
            let expected = tracker.expected.unwrap_or(offset);
            match tracker.step_to(&taken.record) {
                Step::Next => {}
                Step::Gap => tracker.gaps.met(expected, offset),
                Step::Back => {
                    tracing::error!(
                        group = &*self.group,
                        partition = self.partition,
                        expected,
                        offset,
                        "the log continues at an earlier offset: the topic was recreated, or has lost its end"
                    );
                    tracker.put_off = Some(taken);
                    continue;
                }
                Step::Unordered => {
                    self.tell_unordered(expected, offset);
                    tracker.put_off = Some(taken);
                    continue;
                }
                // The client seeks first. It may fetch these records again, or they came in before.
                Step::Elsewhere(_) => {
                    self.tell_unordered(expected, offset);
                    return false;
                }
            }
            let event = if self.is_of_another_group(&taken.record) { Ok(None) } else { self.decoded(&taken) };
            match event.transpose() {
                Some(event) => {
                    scheduler.arrive(taken.record, event);
                    self.share.holds(scheduler.bytes());
                }
                None => {
                    scheduler.pass_over(&taken.record);
                    self.aside(|| self.dependencies.health.passed_over());
                }
            }
        }
        true
    }

    /// Whether a record was redriven for another group, whose dead letter it was: this group had applied it before.
    fn is_of_another_group(&self, record: &Record) -> bool {
        let source = &self.dependencies.source;
        !source.other_groups.is_empty()
            && source.is_of_another(record.header(header::REDRIVE_GROUP))
            && record.is_redriven()
    }

    /// The client returned an error. A batch that can never be read is reported through health, because the client
    /// returns no record behind it.
    fn note_unread(&self, tracker: &mut OffsetTracker<'_>, error: &KafkaError) {
        if is_unreadable(error) {
            tracker.unreadable = Some(Instant::now());
            self.dependencies.health.cannot_read(self.partition, tracker.expected, error.to_string());
        } else {
            tracing::warn!(group = &*self.group, partition = self.partition, %error, "cannot read from Kafka");
        }
    }

    /// The group's committed offset, to notice a gap before the first record or a recreated log. Asks until Kafka
    /// answers; the client also needs the offset before it fetches anything.
    async fn ask_committed(&self) -> Option<i64> {
        while !self.stop.is_cancelled() {
            let asked = self.ask_client(|consumer, topic, partition| {
                let mut list = TopicPartitionList::new();
                list.add_partition(topic, partition);
                consumer.committed_offsets(list, Duration::from_secs(5))
            });
            match asked.await.ok()? {
                Ok(list) => {
                    let offset = list.elements().first().and_then(|element| element.offset().to_raw());
                    let offset = offset.filter(|offset| *offset >= 0);
                    self.note_skipped(&list);
                    self.signals.committed.store(offset.unwrap_or(-1), Ordering::Relaxed);
                    return offset;
                }
                Err(error) => {
                    let why = format!("Kafka does not return the committed offset: {error}");
                    self.dependencies.health.waits_to_begin(self.partition, why);
                }
            }
            self.sleep(IDLE_INTERVAL).await;
        }
        None
    }

    /// If the committed offset notes a range of unreadable records that an operator skipped (`worker-service seek
    /// --past-unreadable`), reports the range as lost and removes the note.
    fn note_skipped(&self, committed: &TopicPartitionList) {
        let elements = committed.elements();
        let Some((element, Skipped { from, to })) = elements.first().and_then(|it| Some((it, Skipped::of(it)?))) else {
            return;
        };
        let (partition, lost) = (self.partition, to.abs_diff(from));
        // A runner that restarts before the note is removed finds it again.
        if self.signals.skipped_to.swap(to, Ordering::Relaxed) < to {
            self.dependencies.health.records_lost(lost);
            tracing::error!(
                group = &*self.group,
                partition,
                expected = from,
                offset = to,
                lost,
                "data loss: an operator skipped unreadable records"
            );
        }
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, partition, element.offset());
        // Until this is committed, the partition's next owner would report the range again.
        if let Err(error) = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            tracing::warn!(group = &*self.group, partition, %error, "cannot remove the note of the skipped records");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn small_batches_take_a_third_of_the_time_at_most_until_the_interval_is_the_longest(micros in 0..100_000_u64) {
            let took = Duration::from_micros(micros);
            let interval = interval(took);
            prop_assert_eq!(interval, (took * 3).min(Duration::from_millis(10)));
            prop_assert!(interval >= took || interval == LONGEST_INTERVAL);
        }
    }
}
