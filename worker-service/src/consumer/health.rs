//! What the worker says of itself: of each consumer group, and of what all of them share.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::kafka::Reason;
use time::OffsetDateTime;

pub use self::report::Health;
pub use self::unreadable::Unreadable;
use crate::observe::emf::Totals;
use crate::observe::partition_lag::{PartitionLag, Unstable};
use crate::scheduler::{HeldFull, Scheduler};

mod report;
mod unreadable;

/// A transaction of somebody else's that is open for longer makes the worker unready. By itself Kafka ends one after
/// its producer's `transaction.timeout.ms`, which is a minute by default.
const LONG_OPEN: Duration = Duration::from_secs(60);

/// What is said where partitions were lost as they were.
const LOST: &str = "the session timed out, and the group took this worker's partitions: joining again";

/// The state of a consumer group's part in this worker, as seen from outside; cloning shares it.
#[derive(Debug, Clone)]
pub struct GroupHealth {
    group: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    joined: bool,
    /// What is waited for before the group is joined.
    before_joining: Option<String>,
    /// Why Kafka does not answer, if it does not.
    kafka: Option<String>,
    /// What is said where the input topic is not there.
    missing_topic: Option<String>,
    partitions: BTreeMap<i32, PartitionState>,
    /// Partitions that the group took from this worker without its knowing, as they were; until it is in the group again.
    lost: BTreeMap<i32, PartitionState>,
    /// What is wrong with the topics' settings.
    topics: Vec<String>,
    totals: Totals,
}

/// A panic that a partition's own code meets again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicsAgain {
    pub why: String,
    /// The first record without its effect: where that moves on, it is over.
    pub at: Option<i64>,
}

/// What is known of a partition. The first of it are what its scheduler tells by methods of these names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub held_alone: usize,
    pub held_full: Option<HeldFull>,
    pub read_to: Option<i64>,
    pub finished: u64,
    pub watermark: Option<i64>,
    pub waiting_since: Option<OffsetDateTime>,
    /// Why it waits out an outage, or does not begin yet.
    pub outage: Option<String>,
    /// Whether it waits for an operator.
    pub paused: bool,
    /// Keys that are held.
    pub held: usize,
    /// Where there is nothing to do but to wait for a held key: until when, at the longest.
    pub held_until: Option<Instant>,
    /// Whether records have come in that are without their effect.
    pub in_hand: bool,
    /// Panics that were caught since the partition is ours.
    pub panics: u64,
    /// The panic that its own code meets again and again, if it does.
    pub panics_again: Option<PanicsAgain>,
    /// Where the group stood when its runner began.
    pub begun_at: Option<i64>,
    /// What lies behind the last stable offset, if anything.
    pub unstable: Option<Unstable>,
    /// For how long it has stood still for no reason, if it does.
    pub stalled: Option<Duration>,
    /// What it stands before, where that cannot be read.
    pub unreadable: Option<Unreadable>,
}

impl PartitionState {
    /// Where it stands: before the first record without its effect.
    pub fn at(&self) -> Option<i64> {
        self.watermark.or(self.begun_at)
    }
}

impl GroupHealth {
    /// That of a group.
    pub fn new(group: &str) -> Self {
        Self { group: group.into(), state: Arc::default() }
    }

    /// The group's id.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The group has told which partitions are ours, if any. Those that were lost have their owners again.
    pub fn joined(&self) {
        let mut state = self.state();
        state.joined = true;
        state.lost.clear();
    }

    /// The group is not joined yet, because something else has to be there first; `None` when it is.
    pub fn waits_before_joining(&self, why: Option<String>) {
        self.state().before_joining = why;
    }

    /// Kafka does not answer, and why; `None` when it does again. A partition does not tell: nothing comes
    /// in, and after a while the partitions are somebody else's.
    pub fn kafka_is_away(&self, why: Option<String>) {
        let mut state = self.state();
        match (&state.kafka, &why) {
            (None, Some(why)) => tracing::error!(group = self.group(), error = why, "Kafka does not answer"),
            (Some(_), None) => tracing::info!(group = self.group(), "Kafka answers again"),
            _ => {}
        }
        state.kafka = why;
    }

    /// The input topic does not exist, and how to say so; `None` when it does.
    pub fn topic_is_missing(&self, why: Option<String>) {
        let mut state = self.state();
        match (&state.missing_topic, &why) {
            (None, Some(why)) => tracing::error!(group = self.group(), "{why}"),
            (Some(_), None) => tracing::info!(group = self.group(), "the input topic exists now"),
            _ => {}
        }
        state.missing_topic = why;
    }

    /// A runner begins where the group stood, if that is known.
    pub fn begun(&self, partition: i32, at: Option<i64>) {
        let mut state = self.state();
        let known = state.partitions.entry(partition).or_default();
        (known.begun_at, known.watermark, known.held_until) = (at, None, None);
        if known.outage.take().is_some() {
            tracing::info!(group = self.group(), partition, "the outage is over");
        }
    }

    /// A runner does not begin yet, and why.
    pub fn waits_to_begin(&self, partition: i32, why: String) {
        tracing::warn!(group = self.group(), partition, error = why, "the partition cannot start yet");
        self.state().partitions.entry(partition).or_default().outage = Some(why);
    }

    /// How far the partitions are behind, as it was measured.
    pub fn measured(&self, measured: &BTreeMap<i32, PartitionLag>) {
        let (mut state, group) = (self.state(), self.group());
        for (&partition, found) in measured {
            let Some(known) = state.partitions.get_mut(&partition) else { continue };
            let is_long = |unstable: Option<Unstable>| unstable.is_some_and(|unstable| unstable.age >= LONG_OPEN);
            match (known.unstable, found.unstable) {
                (None, Some(Unstable { records, offset, .. })) => {
                    tracing::warn!(group, partition, offset, records, "records wait behind an open transaction");
                }
                (Some(_), None) => tracing::info!(group, partition, "no transaction is open any more"),
                (before, Some(Unstable { records, offset, age })) if is_long(found.unstable) && !is_long(before) => {
                    tracing::error!(
                        group,
                        partition,
                        offset,
                        records,
                        ?age,
                        "another producer's transaction has been open for long: records behind it have no effect yet"
                    );
                }
                _ => {}
            }
            match (known.stalled, found.stalled) {
                (None, Some(since)) => {
                    let (offset, lag) = (known.at(), found.lag);
                    tracing::error!(
                        group,
                        partition,
                        offset,
                        lag,
                        ?since,
                        "the partition stands still for no known reason"
                    );
                }
                (Some(_), None) => tracing::info!(group, partition, "the partition moves again"),
                _ => {}
            }
            (known.unstable, known.stalled) = (found.unstable, found.stalled);
            known.unreadable.take_if(|unreadable| unreadable.is_over(Instant::now()));
        }
    }

    /// The code of a partition panicked, and that was caught.
    pub fn panicked(&self, partition: i32) {
        self.state().partitions.entry(partition).or_default().panics += 1;
    }

    /// A partition waits before it begins anew, and why; and where that comes again and again, the offset that it does
    /// not get past.
    pub fn begins_anew(&self, partition: i32, why: String, again: Option<Option<i64>>) {
        let group = self.group();
        match again {
            None => tracing::error!(group, partition, error = why, "the partition restarts"),
            Some(offset) => {
                tracing::error!(group, partition, offset, error = why, "the partition's code panics repeatedly");
            }
        }
        let mut state = self.state();
        let known = state.partitions.entry(partition).or_default();
        known.panics_again = again.map(|at| PanicsAgain { why: why.clone(), at });
        known.outage = Some(why);
    }

    /// What is wrong with the topics' settings; nothing waits for it.
    pub fn topics(&self, warnings: Vec<String>) {
        self.state().topics = warnings;
    }

    /// Records are lost, or may be.
    pub fn records_lost(&self, records: u64) {
        metrics::counter!("records_lost_total", "group" => self.group.to_string()).increment(records);
        self.state().totals.records_lost += records;
    }

    /// A record is none of this group's.
    pub fn passed_over(&self) {
        metrics::counter!("records_passed_over_total", "group" => self.group.to_string()).increment(1);
    }

    /// Kafka has a dead letter.
    pub fn dead_letter(&self, reason: Reason) {
        if reason == Reason::UnknownError {
            self.state().totals.unknown_errors += 1;
        }
    }

    /// What happened so far.
    pub fn totals(&self) -> Totals {
        Totals { log_lines_dropped: shared::runtime::telemetry::log_lines_dropped(), ..self.state().totals }
    }

    /// The partitions as they are.
    pub fn partitions(&self) -> BTreeMap<i32, PartitionState> {
        self.state().partitions.clone()
    }

    /// The partitions that were lost as they were, while the worker is not in the group again.
    pub fn lost(&self) -> BTreeMap<i32, PartitionState> {
        self.state().lost.clone()
    }

    /// Whether something is waited for that is no partition's own affair: Kafka, what has to be there before the group is
    /// joined, or to be in the group again.
    pub fn waits(&self) -> bool {
        self.state().of_all().is_some()
    }

    /// How a partition's scheduler is, whose times count from this moment on.
    pub fn update<E>(&self, partition: i32, scheduler: &Scheduler<E>, started: Instant) {
        let (mut state, group) = (self.state(), self.group());
        let entry = state.partitions.entry(partition).or_default();
        if entry.outage.as_deref() != scheduler.outage() {
            match scheduler.outage() {
                Some(why) if entry.outage.is_none() => {
                    tracing::error!(group, partition, error = why, "an outage: the partition waits");
                }
                Some(_) => {}
                None => tracing::info!(group, partition, "the outage is over"),
            }
            entry.outage = scheduler.outage().map(str::to_owned);
        }
        if entry.panics_again.as_ref().is_some_and(|again| scheduler.watermark() > again.at) {
            entry.panics_again = None;
            tracing::info!(group, partition, "the partition's code no longer panics");
        }
        entry.paused = scheduler.is_paused();
        entry.held = scheduler.held_keys();
        entry.held_alone = scheduler.held_alone();
        entry.held_until = scheduler.due().filter(|_| scheduler.is_idle()).map(|due| started + due);
        show_held_full(group, partition, entry.held_full.as_ref(), scheduler.held_full().as_ref());
        entry.held_full = scheduler.held_full();
        entry.read_to = scheduler.read_to();
        entry.finished = scheduler.finished();
        entry.watermark = scheduler.watermark();
        entry.in_hand = !scheduler.is_empty();
        entry.waiting_since = scheduler.waiting_since();
        self.show_held(partition, entry.held, entry.held_alone, entry.held_full.is_some());
    }

    /// The group took a partition from this worker, whose session ended: nobody may have it yet, and the worker has to
    /// join anew.
    pub fn lost_to_group(&self, partition: i32) {
        let mut state = self.state();
        state.joined = false;
        if let Some(known) = state.partitions.get(&partition).cloned() {
            state.lost.insert(partition, known);
        }
        drop(state);
        self.gone(partition);
    }

    /// A partition is no longer ours.
    pub fn gone(&self, partition: i32) {
        let mut state = self.state();
        state.partitions.remove(&partition);
        // At once: whoever measures how far behind the partitions are may be waiting for Kafka.
        metrics::gauge!("assigned_partitions", "group" => self.group.to_string()).set(state.partitions.len() as f64);
        drop(state);
        self.show_held(partition, 0, 0, false);
    }

    fn show_held(&self, partition: i32, keys: usize, alone: usize, is_full: bool) {
        let labels = self.labels(partition);
        metrics::gauge!("held_keys", &labels).set(keys as f64);
        metrics::gauge!("held_alone_keys", &labels).set(alone as f64);
        metrics::gauge!("partition_held_full", &labels).set(f64::from(is_full));
    }

    /// A partition's labels.
    pub fn labels(&self, partition: i32) -> [(&'static str, String); 2] {
        [("group", self.group.to_string()), ("partition", partition.to_string())]
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is waited for that is no partition's own affair.
    fn of_all(&self) -> Option<&str> {
        let told = self.before_joining.as_ref().or(self.kafka.as_ref()).or(self.missing_topic.as_ref());
        told.map(String::as_str).or_else(|| (!self.lost.is_empty()).then_some(LOST))
    }
}

/// The log says when so much is held that nothing more comes in, and when it is less again.
fn show_held_full(group: &str, partition: i32, before: Option<&HeldFull>, now: Option<&HeldFull>) {
    match (before, now) {
        (None, Some(HeldFull { records, bytes, key, key_records, key_bytes })) => tracing::error!(
            group,
            partition,
            records,
            bytes,
            %key,
            key_records,
            key_bytes,
            "the limit of held events is reached: the partition takes no more records"
        ),
        (Some(_), None) => tracing::info!(group, partition, "the partition takes records again"),
        _ => {}
    }
}
