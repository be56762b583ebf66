//! The worker's health: the state of each consumer group, and of the parts that all groups share.

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

/// Another producer's transaction that is open for longer makes the worker unready. Kafka itself aborts a transaction
/// after its producer's `transaction.timeout.ms`, which is a minute by default.
const LONG_OPEN: Duration = Duration::from_secs(60);

/// The message while partitions are lost.
const LOST: &str = "the session timed out, and the group took this worker's partitions: joining again";

/// The state of a consumer group in this worker, as seen from outside; cloning shares it.
#[derive(Debug, Clone)]
pub struct GroupHealth {
    group: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    joined: bool,
    /// Why the group is not joined yet, if so.
    before_joining: Option<String>,
    /// Why Kafka does not answer, if it does not.
    kafka: Option<String>,
    /// The message if the input topic does not exist.
    missing_topic: Option<String>,
    partitions: BTreeMap<i32, PartitionState>,
    /// Partitions that the group took from this worker after its session timed out, in their last known state; kept
    /// until the worker is in the group again.
    lost: BTreeMap<i32, PartitionState>,
    /// Warnings about the topics' settings.
    topics: Vec<String>,
    totals: Totals,
}

/// A repeated panic in a partition's own code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicsAgain {
    pub why: String,
    /// The offset of the first unfinished record: once that moves on, the panics are over.
    pub at: Option<i64>,
}

/// The state of a partition. The first fields come from the scheduler's methods of the same names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub held_alone: usize,
    pub held_full: Option<HeldFull>,
    pub read_to: Option<i64>,
    pub finished: u64,
    pub watermark: Option<i64>,
    pub waiting_since: Option<OffsetDateTime>,
    /// Why it waits out an outage or has not started yet.
    pub outage: Option<String>,
    /// Whether it waits for an operator.
    pub paused: bool,
    /// Keys that are held.
    pub held: usize,
    /// When the next held key is due, if there is nothing else to do.
    pub held_until: Option<Instant>,
    /// Whether any record that came in is unfinished.
    pub in_hand: bool,
    /// The panics that were caught since the partition was assigned.
    pub panics: u64,
    /// The repeated panic in its own code, if there is one.
    pub panics_again: Option<PanicsAgain>,
    /// The group's committed offset when the runner started.
    pub begun_at: Option<i64>,
    /// The records behind the last stable offset, if there are any.
    pub unstable: Option<Unstable>,
    /// How long it has stood still for no known reason, if it does.
    pub stalled: Option<Duration>,
    /// The batch that cannot be read, if the partition stands before one.
    pub unreadable: Option<Unreadable>,
}

impl PartitionState {
    /// Its position: the offset of the first unfinished record.
    pub fn at(&self) -> Option<i64> {
        self.watermark.or(self.begun_at)
    }
}

impl GroupHealth {
    /// The health of a group.
    pub fn new(group: &str) -> Self {
        Self { group: group.into(), state: Arc::default() }
    }

    /// The group's id.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The group has assigned partitions to this worker, possibly none. Lost partitions have owners again.
    pub fn joined(&self) {
        let mut state = self.state();
        state.joined = true;
        state.lost.clear();
    }

    /// Why the group is not joined yet; `None` once nothing prevents it.
    pub fn waits_before_joining(&self, why: Option<String>) {
        self.state().before_joining = why;
    }

    /// Why Kafka does not answer; `None` when it answers again. Partitions cannot detect this: no records come in, and
    /// after a while the partitions belong to other workers.
    pub fn kafka_is_away(&self, why: Option<String>) {
        let mut state = self.state();
        match (&state.kafka, &why) {
            (None, Some(why)) => tracing::error!(group = self.group(), error = why, "Kafka does not answer"),
            (Some(_), None) => tracing::info!(group = self.group(), "Kafka answers again"),
            _ => {}
        }
        state.kafka = why;
    }

    /// The message if the input topic does not exist; `None` if it does.
    pub fn topic_is_missing(&self, why: Option<String>) {
        let mut state = self.state();
        match (&state.missing_topic, &why) {
            (None, Some(why)) => tracing::error!(group = self.group(), "{why}"),
            (Some(_), None) => tracing::info!(group = self.group(), "the input topic exists now"),
            _ => {}
        }
        state.missing_topic = why;
    }

    /// A runner starts at the group's committed offset, if there is one.
    pub fn begun(&self, partition: i32, at: Option<i64>) {
        let mut state = self.state();
        let known = state.partitions.entry(partition).or_default();
        (known.begun_at, known.watermark, known.held_until) = (at, None, None);
        if known.outage.take().is_some() {
            tracing::info!(group = self.group(), partition, "the outage is over");
        }
    }

    /// A runner cannot start yet, and why.
    pub fn waits_to_begin(&self, partition: i32, why: String) {
        tracing::warn!(group = self.group(), partition, error = why, "the partition cannot start yet");
        self.state().partitions.entry(partition).or_default().outage = Some(why);
    }

    /// Stores how far the partitions are behind.
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

    /// A panic in a partition's code was caught.
    pub fn panicked(&self, partition: i32) {
        self.state().partitions.entry(partition).or_default().panics += 1;
    }

    /// A partition waits before it restarts, and why. If that repeats, `again` has the offset that it does not get
    /// past.
    pub fn restarts(&self, partition: i32, why: String, again: Option<Option<i64>>) {
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

    /// Warnings about the topics' settings; they do not affect readiness.
    pub fn topics(&self, warnings: Vec<String>) {
        self.state().topics = warnings;
    }

    /// Records are lost, or may be.
    pub fn records_lost(&self, records: u64) {
        metrics::counter!("records_lost_total", "group" => self.group.to_string()).increment(records);
        self.state().totals.records_lost += records;
    }

    /// A record was skipped because it is not for this group.
    pub fn passed_over(&self) {
        metrics::counter!("records_passed_over_total", "group" => self.group.to_string()).increment(1);
    }

    /// Kafka has acknowledged a dead letter.
    pub fn dead_letter(&self, reason: Reason) {
        let mut state = self.state();
        state.totals.dead_letters += 1;
        state.totals.unknown_errors += u64::from(reason == Reason::UnknownError);
    }

    /// The totals so far.
    pub fn totals(&self) -> Totals {
        Totals { log_lines_dropped: shared::runtime::telemetry::log_lines_dropped(), ..self.state().totals }
    }

    /// The current state of the partitions.
    pub fn partitions(&self) -> BTreeMap<i32, PartitionState> {
        self.state().partitions.clone()
    }

    /// The lost partitions in their last known state, until the worker is in the group again.
    pub fn lost(&self) -> BTreeMap<i32, PartitionState> {
        self.state().lost.clone()
    }

    /// Whether the whole group waits: for Kafka, for a condition of joining, for the input topic, or to rejoin.
    pub fn waits(&self) -> bool {
        self.state().of_all().is_some()
    }

    /// Stores the state of a partition's scheduler, whose times count from `started`.
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

    /// The worker's session timed out, and the group took the partition from it. The partition may have no new owner
    /// yet, and the worker has to rejoin.
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
        // At once, because the lag measurement may be waiting for Kafka.
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
    /// Why the whole group waits, if it does.
    fn of_all(&self) -> Option<&str> {
        let told = self.before_joining.as_ref().or(self.kafka.as_ref()).or(self.missing_topic.as_ref());
        told.map(String::as_str).or_else(|| (!self.lost.is_empty()).then_some(LOST))
    }
}

/// Logs when the held events reach a bound, so that no more records come in, and when they no longer do.
fn show_held_full(group: &str, partition: i32, before: Option<&HeldFull>, now: Option<&HeldFull>) {
    match (before, now) {
        (None, Some(HeldFull { records, bytes, key, key_records, key_bytes })) => tracing::error!(
            group,
            partition,
            records,
            bytes,
            key = key.as_str(),
            key_records,
            key_bytes,
            "the limit of held events is reached: the partition takes no more records"
        ),
        (Some(_), None) => tracing::info!(group, partition, "the partition takes records again"),
        _ => {}
    }
}
