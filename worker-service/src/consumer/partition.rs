//! Drives one lane: takes records in, does what the lane says, and stores the offset up to which
//! all is done.

use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use shared::kafka::{Record, header};
use shared::runtime::config::AccessLog;
use shared::store::Store;
use tokio::sync::{Notify, watch};

use crate::consumer::apply::Applier;
use crate::consumer::budget::{ByteBudget, Share};
use crate::consumer::event_log::{self, FailedBatch};
use crate::consumer::handler::Handler;
use crate::consumer::health::GroupHealth;
use crate::consumer::poll::{Group, Queue};
use crate::dead_letters::producer::DeadLetters;
use crate::scheduler::{Lane, Next, Settings};
use crate::source::Source;
use shared::kafka::unreadable::is_unreadable;

pub use self::explain::GapReader;
use self::gaps::Gaps;
use self::progress::{Progress, Step};
pub use self::signals::Signals;

mod caught;
mod explain;
mod gaps;
mod malformed;
mod numbers;
mod position;
mod progress;
mod restart;
mod signals;
mod skipped;

/// What every lane uses.
pub struct RunnerDependencies<H> {
    /// How to reach Kafka.
    pub client: ClientConfig,
    /// What it reads.
    pub source: Source,
    /// The tables.
    pub store: Store,
    /// Reads a record.
    pub read: fn(&mut BorrowedMessage<'_>) -> Record,
    /// Applies batches.
    pub applier: Applier<H>,
    /// Which events have a line in the log.
    pub access_log: AccessLog,
    /// Takes dead letters.
    pub dead_letters: DeadLetters,
    /// Reads what stands in gaps.
    pub gap_reader: GapReader,
    /// What all partitions of the process may hold.
    pub budget: ByteBudget,
    /// What is told outside.
    pub health: GroupHealth,
}

/// How often a paused lane asks whether an operator let it go on, and every lane looks into its
/// queue unasked.
const LOOK: Duration = Duration::from_secs(1);
/// Records taken in between two looks at what is being applied.
const FEW: usize = 32;
/// How soon after a small batch began the next one may begin. A transaction costs about as much for one
/// event as for twenty, so while events come in one by one they are let gather; a lone event, and a
/// backlog, wait for nobody.
const PACE: Duration = Duration::from_millis(10);
/// From here on a batch is none of the small ones.
const MANY: usize = 100;

/// A partition that was assigned.
pub struct Assigned {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its records.
    pub queue: Queue,
    /// Told when the queue is no longer empty.
    pub wake: Arc<Notify>,
    /// The consumer, for offsets.
    pub consumer: Arc<BaseConsumer<Group>>,
    /// What it shares with those who look at it from outside.
    pub signals: Arc<Signals>,
    /// Becomes true when the lane is to end.
    pub stop: watch::Receiver<bool>,
}

/// One partition's driver. Dropping it drops what is under way: its results count for nothing.
pub struct Driver<H> {
    assigned: Assigned,
    dependencies: Arc<RunnerDependencies<H>>,
    /// Of the bytes that all partitions may hold.
    share: Share,
}

impl<H> Deref for Driver<H> {
    type Target = Assigned;

    fn deref(&self) -> &Assigned {
        &self.assigned
    }
}

impl<H> DerefMut for Driver<H> {
    fn deref_mut(&mut self) -> &mut Assigned {
        &mut self.assigned
    }
}

/// Runs partitions that were assigned: what a group needs to know of its handler.
pub type Run = Box<dyn Fn(Assigned) -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs partitions by these dependencies.
pub fn runner<H: Handler>(dependencies: Arc<RunnerDependencies<H>>) -> Run {
    Box::new(move |assigned| {
        let share = dependencies.budget.join();
        Driver { assigned, dependencies: Arc::clone(&dependencies), share }.run().boxed()
    })
}

impl<H: Handler> Driver<H> {
    /// Runs a lane from where the group stands until told to stop.
    async fn run_lane(&mut self, from: Option<i64>, gaps: &mut Gaps) {
        let started = Instant::now();
        let mut lane = Lane::new(Settings::default(), fastrand::u64(..));
        // What one held that broke down is gone.
        self.share.holds(0);
        self.dependencies.health.begun(self.partition, from);
        let mut progress = Progress::new(from, gaps);
        let mut pause = self.known_pause(&mut lane, started).await;
        let mut paced = None;
        while !*self.stop.borrow() {
            if let Some(since) = paced.take() {
                self.gather_until(since + PACE).await;
            }
            self.take_in(&mut lane, &mut progress, usize::MAX);
            self.return_where_due(&mut lane, &mut progress).await;
            match lane.next(started.elapsed()) {
                Next::Apply(batch) => {
                    paced = (batch.len() < MANY).then(Instant::now);
                    let result = self.taking_in(self.apply_whole(&batch), &mut lane, &mut progress).await;
                    let failure = result.as_ref().err().and_then(|error| {
                        self.aside(|| FailedBatch::of(&batch, error, self.dependencies.access_log))?
                    });
                    let after = lane.applied(batch, result, started.elapsed());
                    if let (Some(failure), Some(after)) = (failure, after) {
                        self.aside(|| failure.log(after, lane.held_full().is_some()));
                    }
                }
                Next::Probe(bytes) => {
                    let result = self.taking_in(self.probe(bytes), &mut lane, &mut progress).await;
                    lane.probed(result, started.elapsed());
                }
                Next::DeadLetter(letters) => {
                    let sent = self.dependencies.dead_letters.send(letters).await;
                    for (letter, _) in sent.iter().filter(|(_, result)| result.is_ok()) {
                        self.aside(|| event_log::dead_letter(letter, H::SPEC.types));
                        self.dependencies.health.dead_letter(letter.reason);
                    }
                    lane.dead_lettered(sent, started.elapsed());
                }
                Next::Pause => {
                    tracing::error!(
                        partition = self.partition,
                        "too many dead letters: paused until `worker-service resume`"
                    );
                    // At once: a successor has to know.
                    pause = self.look_at_pause(Pause::ToWrite, &mut lane).await;
                }
                Next::Wait(until) => {
                    if !self.move_on(&mut lane, &mut progress).await {
                        let until = until.map_or(LOOK, |until| until.saturating_sub(started.elapsed()).min(LOOK));
                        tokio::select! {
                            () = self.assigned.wake.notified(), if lane.has_room() => {}
                            () = self.share.freed(), if !self.share.has_room() => {}
                            () = tokio::time::sleep(until) => {}
                            _ = self.assigned.stop.changed() => {}
                        }
                    }
                    pause = self.look_at_pause(pause, &mut lane).await;
                }
            }
            self.share.holds(lane.bytes());
            self.dependencies.health.lane(self.partition, &lane, started);
            progress.store(self, &lane);
            self.look_for_losses(progress.gaps).await;
        }
    }

    /// Lets records gather in the queue.
    async fn gather_until(&mut self, until: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            _ = self.assigned.stop.changed() => {}
        }
    }

    /// Does what asks PostgreSQL. Meanwhile the next batch gathers, a few records at a time, so that PostgreSQL's
    /// answers are not kept waiting.
    async fn taking_in<T>(
        &self,
        work: impl Future<Output = T>,
        lane: &mut Lane<H::Event>,
        progress: &mut Progress<'_>,
    ) -> T {
        let mut work = pin!(work);
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = tokio::task::yield_now(), if more => {}
                () = self.wake.notified(), if !more && lane.has_room() => {}
                () = self.share.freed(), if !more && !self.share.has_room() => {}
            }
            more = self.take_in(lane, progress, FEW);
        }
    }

    /// Takes in what is there, as far as there is room, and so many at most; says whether more of it
    /// could be taken in.
    fn take_in(&self, lane: &mut Lane<H::Event>, progress: &mut Progress<'_>, most: usize) -> bool {
        for _ in 0..most {
            if !lane.has_room() || !self.share.has_room() || progress.return_to.is_some() {
                return false;
            }
            let taken = match progress.put_off.take() {
                Some(taken) if lane.is_empty() => {
                    lane.begin_anew();
                    taken
                }
                Some(taken) => {
                    progress.put_off = Some(taken);
                    return false;
                }
                None => match self.queue.poll(Duration::ZERO) {
                    None => return false,
                    Some(Ok(message)) => self.read(message),
                    Some(Err(error)) => {
                        self.note_unread(progress, &error);
                        continue;
                    }
                },
            };
            if progress.unreadable.take().is_some() {
                self.dependencies.health.can_read(self.partition);
            }
            let offset = taken.record.offset;
            match progress.step_to(&taken.record) {
                Step::Next => {}
                Step::Gap(expected) => progress.gaps.met(expected, offset),
                Step::Back(expected) => {
                    tracing::error!(
                        partition = self.partition,
                        expected,
                        offset,
                        "the log goes on at an earlier offset: the topic was made anew, or has lost its end"
                    );
                    progress.put_off = Some(taken);
                    continue;
                }
                Step::Unordered(expected) => {
                    self.tell_unordered(expected, offset);
                    progress.put_off = Some(taken);
                    continue;
                }
                // What the client fetched there comes again, or came before.
                Step::Elsewhere(expected) => {
                    self.tell_unordered(expected, offset);
                    return false;
                }
            }
            if self.is_of_another_group(&taken.record) {
                lane.pass_over(&taken.record);
                continue;
            }
            let (record, decoded) = self.decoded(taken);
            lane.arrive(record, decoded);
            self.share.holds(lane.bytes());
        }
        true
    }

    /// Whether a record was redriven for another group, whose dead letter it was: it had its effect here before.
    fn is_of_another_group(&self, record: &Record) -> bool {
        let source = &self.dependencies.source;
        !source.other_groups.is_empty()
            && source.is_of_another(record.header(header::REDRIVE_GROUP))
            && record.is_redriven()
    }

    /// The client did not read something. Where it never will, health says so, and the place: nothing else does, since
    /// nothing is behind it for the client.
    fn note_unread(&self, progress: &mut Progress<'_>, error: &KafkaError) {
        if is_unreadable(error) {
            progress.unreadable = Some(Instant::now());
            self.dependencies.health.cannot_read(self.partition, progress.expected, error.to_string());
        } else {
            tracing::warn!(partition = self.partition, %error, "reading from Kafka");
        }
    }

    /// Where the group stands, to notice a gap in front of the first record, or a log that went back;
    /// asked until it is told. The client has to know it too before it fetches anything.
    async fn ask_committed(&mut self) -> Option<i64> {
        while !*self.stop.borrow() {
            let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
            let asked = tokio::task::spawn_blocking(move || {
                let mut list = TopicPartitionList::new();
                list.add_partition(&topic, partition);
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
                Err(error) => self
                    .dependencies
                    .health
                    .waits_to_begin(partition, format!("Kafka does not tell the committed offset: {error}")),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.assigned.stop.changed() => {}
            }
        }
        None
    }

    /// A pause that an earlier owner of the partition wrote down still holds. Nothing is taken in
    /// before that is known: dead letters need no PostgreSQL, and would have a new ration.
    async fn known_pause(&mut self, lane: &mut Lane<H::Event>, started: Instant) -> Pause {
        while !*self.stop.borrow() {
            match self.dependencies.store.is_paused(&self.dependencies.source.group, &self.topic, self.partition).await
            {
                Ok(paused) => {
                    lane.store_answered();
                    if !paused {
                        break;
                    }
                    tracing::error!(partition = self.partition, "paused until `worker-service resume`");
                    lane.pause();
                    return Pause::Written;
                }
                Err(error) => {
                    tracing::warn!(
                        partition = self.partition,
                        %error,
                        "nothing is taken in before it is known whether the partition is paused"
                    );
                    let until = lane.store_failed(error, started.elapsed());
                    self.dependencies.health.lane(self.partition, lane, started);
                    tokio::select! {
                        () = tokio::time::sleep(until.saturating_sub(started.elapsed())) => {}
                        _ = self.assigned.stop.changed() => {}
                    }
                }
            }
        }
        Pause::None
    }

    /// Writes a pause down until that is done, and then looks whether an operator took it back.
    async fn look_at_pause(&self, pause: Pause, lane: &mut Lane<H::Event>) -> Pause {
        let (store, group) = (&self.dependencies.store, self.dependencies.source.group.as_str());
        match pause {
            Pause::None => Pause::None,
            Pause::ToWrite => match store.pause(group, &self.topic, self.partition, "dead letters").await {
                Ok(()) => Pause::Written,
                Err(error) => {
                    tracing::warn!(partition = self.partition, %error, "the pause is not written down");
                    Pause::ToWrite
                }
            },
            Pause::Written => match store.is_paused(group, &self.topic, self.partition).await {
                Ok(false) => {
                    tracing::info!(partition = self.partition, "resumed by an operator");
                    lane.resume();
                    Pause::None
                }
                Ok(true) | Err(_) => Pause::Written,
            },
        }
    }
}

/// Whether the partition waits for an operator.
enum Pause {
    None,
    /// It does, and PostgreSQL does not know yet.
    ToWrite,
    Written,
}
