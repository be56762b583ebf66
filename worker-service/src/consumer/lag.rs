//! Measures how far behind each partition is, every few seconds, for Prometheus, health and CloudWatch. This is also
//! how the worker notices that Kafka is away, or that a partition is stuck.
//!
//! The lag is the number of unfinished records before the last stable offset. Records behind that offset wait for
//! another producer's transaction and are counted separately.

mod commits;
mod kafka_offsets;
mod unstable;
mod waiting_since;
mod watchdog;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use time::OffsetDateTime;

pub use self::kafka_offsets::LogEnds;
use self::kafka_offsets::{Ends, KafkaOffsets, ask};
use self::unstable::OpenTransaction;
use self::waiting_since::WaitingSince;
use self::watchdog::{Observation, Watchdog};
use crate::consumer::group::{Group, SharedConsumer};
use crate::consumer::health::{GroupHealth, PartitionState};
use crate::observe::emf::{EmfConfig, Emitter};
use crate::observe::partition_lag::PartitionLag;

/// How often the lag is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
/// The most time that counts between two measurements, because a suspended machine saw nothing of that time.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// How late a held key may be tried, because a transaction is under way.
const HELD_LATE: Duration = Duration::from_secs(10);
/// Kafka counts as away after this many unanswered requests in a row: a single one may be due to a restarting broker.
const SILENCES: u32 = 2;

/// How long a partition may be stuck if no record came in since it was assigned: perhaps the client does not fetch it.
const FIRST_RECORD_TIMEOUT: Duration = Duration::from_secs(60);

/// The measurement of a group's lag.
pub struct Lag {
    /// Until the consumer exists, there are no partitions.
    pub consumer: SharedConsumer,
    pub log_ends: LogEnds,
    pub topic: String,
    pub health: GroupHealth,
    /// Whether to write metrics for CloudWatch, and how often.
    pub emf: EmfConfig,
    /// How long a partition may be stuck before it is restarted.
    pub stall_timeout: Duration,
    /// How often the committed offsets are compared with the stored ones.
    pub compare_interval: Duration,
}

/// The state that one measurement keeps for the next.
struct Past {
    /// The time that this has been running, without suspensions.
    elapsed: Duration,
    /// When the lag was last measured.
    measured: Instant,
    /// How long a partition may stand still.
    stall_timeout: Duration,
    partitions: BTreeMap<i32, PartitionPast>,
    /// The stored offsets when commits were last compared.
    stored: BTreeMap<i32, i64>,
    /// When the committed offsets were last asked for.
    compared: Option<Instant>,
    silences: u32,
}

/// The earlier measurements of a partition.
#[derive(Default)]
struct PartitionPast {
    waiting: WaitingSince,
    /// The lag when Kafka last returned the partition's end, and when that was; no lag if it never did.
    last: Option<(Option<u64>, Instant)>,
    open: OpenTransaction,
    watchdog: Watchdog,
}

impl PartitionPast {
    /// The last known lag, and how long the first unfinished record has waited, in seconds.
    fn lag_and_age(
        &mut self,
        seen: Instant,
        now: OffsetDateTime,
        state: &PartitionState,
        ends: Option<Ends>,
        lag: Option<u64>,
    ) -> (Option<u64>, f64) {
        let in_hand = state.waiting_since.map_or(0.0, |since| (now - since).as_seconds_f64());
        // A record that came in waits even if the log has dropped it, as retention does at once with a record of 1970.
        let waits_at = if state.in_hand { state.at() } else { starts_at(state, ends).or(state.at()) };
        let waits_for = self.waiting.waiting(seen, waits_at, ends.map(|ends| ends.stable));
        let (lag, at) = self.last.filter(|_| lag.is_none()).unwrap_or((lag, seen));
        self.last = Some((lag, at));
        (lag, in_hand.max(waits_for.max(seen.saturating_duration_since(at)).as_secs_f64()))
    }
}

/// A partition's position, or the first offset of its log if that is later.
fn starts_at(state: &PartitionState, ends: Option<Ends>) -> Option<i64> {
    ends.map(|Ends { first, .. }| state.at().unwrap_or(first).max(first))
}

impl Past {
    fn new(stall_timeout: Duration) -> Self {
        Self {
            elapsed: Duration::ZERO,
            measured: Instant::now(),
            stall_timeout,
            partitions: BTreeMap::new(),
            stored: BTreeMap::new(),
            compared: None,
            silences: 0,
        }
    }
}

impl Lag {
    /// Measures until the consumer is gone.
    pub async fn run(self) {
        let mut emitter = Emitter::new(&self.emf, ("Group", self.health.group()), OffsetDateTime::now_utc());
        let mut gone = Vec::new();
        let mut past = Past::new(self.stall_timeout);
        let every = MEASURE_INTERVAL.min(self.emf.interval).min(self.stall_timeout).min(self.compare_interval);
        loop {
            tokio::time::sleep(every).await;
            let (consumer, offsets) = match self.consumer.get().map(Weak::upgrade) {
                None => (None, KafkaOffsets::default()),
                Some(None) => return,
                Some(Some(consumer)) => {
                    let offsets = self.ask(&consumer, &mut past).await;
                    (Some(consumer), offsets)
                }
            };
            let now = OffsetDateTime::now_utc();
            let (measured, anew) =
                measure(&self.health.partitions(), &self.health.lost(), &offsets.ends, now, &mut past);
            show(&self.health, &measured, &mut gone);
            self.health.measured(&measured);
            if let Some(consumer) = consumer {
                act(&self.health, consumer.context(), &offsets, &anew);
            }
            let waits = self.health.waits();
            metrics::gauge!("worker_waiting", "group" => self.health.group().to_owned())
                .set(f64::from(waits || measured.values().any(|found| found.waits)));
            if let Some(emitter) = &mut emitter
                && emitter.is_due(now)
            {
                let totals = self.health.totals();
                if shared::runtime::telemetry::log_metrics(&emitter.document(&measured, waits, totals, now)) {
                    emitter.told(totals);
                }
            }
        }
    }

    /// Asks Kafka, and reports if it does not answer.
    async fn ask(&self, consumer: &Arc<BaseConsumer<Group>>, past: &mut Past) -> KafkaOffsets {
        let ours: Vec<_> = self.health.partitions().into_keys().collect();
        let is_due = past.compared.is_none_or(|compared| compared.elapsed() >= self.compare_interval);
        let with_committed = is_due && !ours.is_empty();
        let offsets = ask(Arc::clone(consumer), &self.log_ends, self.topic.clone(), ours, with_committed).await;
        if let Some(partitions) = offsets.partitions {
            metrics::gauge!("topic_partitions", "group" => self.health.group().to_owned()).set(partitions as f64);
        }
        let missing = || format!("the topic {} does not exist: run `worker-service setup`", self.topic);
        self.health.topic_is_missing(offsets.is_missing.then(missing));
        past.silences = if offsets.silent.is_some() { past.silences + 1 } else { 0 };
        if offsets.silent.is_none() || past.silences >= SILENCES {
            self.health.kafka_is_away(offsets.silent.clone());
        }
        if let Some(held) = &offsets.committed {
            past.compared = Some(Instant::now());
            compare_commits(&self.health, consumer.context(), held, &mut past.stored);
        }
        offsets
    }
}

/// Finds partitions whose committed offset at the broker is behind the stored one, and has them committed again.
fn compare_commits(health: &GroupHealth, group: &Group, held: &BTreeMap<i32, i64>, noted: &mut BTreeMap<i32, i64>) {
    let behind = commits::compare(noted, group.stored(), held);
    for partition in held.keys() {
        let records = behind.get(partition).map_or(0, |behind| behind.stored - behind.committed);
        metrics::gauge!("commit_behind_records", &health.labels(*partition)).set(records as f64);
    }
    for (partition, found) in behind {
        tracing::warn!(
            group = health.group(),
            partition,
            committed = found.committed,
            stored = found.stored,
            "the broker's committed offset is behind the stored one: committing again"
        );
        group.holds_less(partition, found.committed);
    }
}

/// Passes the results to the runners.
fn act(health: &GroupHealth, group: &Group, offsets: &KafkaOffsets, anew: &[i32]) {
    for (partition, ends) in &offsets.ends {
        group.ends_at(*partition, ends.stable);
    }
    for partition in anew {
        metrics::counter!("partition_stalls_total", "group" => health.group().to_owned()).increment(1);
        group.restart(*partition);
    }
}

/// Measures the lag of each partition, and finds the partitions whose runner has to restart. For lost partitions: the
/// last known lag, with its age.
fn measure(
    ours: &BTreeMap<i32, PartitionState>,
    lost: &BTreeMap<i32, PartitionState>,
    ends: &BTreeMap<i32, Ends>,
    now: OffsetDateTime,
    past: &mut Past,
) -> (BTreeMap<i32, PartitionLag>, Vec<i32>) {
    past.partitions.retain(|partition, _| ours.contains_key(partition) || lost.contains_key(partition));
    for (_, known) in past.partitions.iter_mut().filter(|(partition, _)| !ours.contains_key(partition)) {
        (known.open, known.watchdog) = Default::default();
    }
    past.elapsed += past.measured.elapsed().min(LONGEST_STEP);
    let seen = Instant::now();
    past.measured = seen;
    let Past { elapsed, stall_timeout, partitions, .. } = past;
    let mut anew = Vec::new();
    let of_one = |(&partition, state): (&i32, &PartitionState)| {
        let known = partitions.entry(partition).or_default();
        let ends = ends.get(&partition).copied();
        let lag = ends.zip(starts_at(state, ends)).map(|(ends, at)| u64::try_from(ends.stable - at).unwrap_or(0));
        let (last, watermark_age) = known.lag_and_age(seen, now, state, ends, lag);
        let observed = Observation {
            at: state.at(),
            read_to: state.read_to,
            finished: state.finished,
            lag,
            has_reason: has_reason(state, ends, seen),
        };
        let after = if state.read_to.is_some() { *stall_timeout } else { FIRST_RECORD_TIMEOUT.min(*stall_timeout) };
        let stall = known.watchdog.look(after, *elapsed, observed);
        anew.extend(stall.filter(|stall| stall.restart).map(|_| partition));
        let measured = PartitionLag {
            lag: last,
            is_unknown: lag.is_none(),
            is_lost: false,
            watermark_age,
            waits: state.outage.is_some(),
            paused: state.paused,
            unstable: known.open.look(*elapsed, ends),
            stalled: stall.map(|stall| stall.since),
            held_alone: state.held_alone,
            unreadable: state.unreadable.is_some(),
        };
        (partition, measured)
    };
    let mut measured: BTreeMap<_, _> = ours.iter().map(of_one).collect();
    for (&partition, state) in lost.iter().filter(|(partition, _)| !ours.contains_key(partition)) {
        let known = past.partitions.entry(partition).or_default();
        let (lag, watermark_age) = known.lag_and_age(seen, now, state, None, None);
        let found = PartitionLag {
            lag,
            watermark_age,
            is_unknown: true,
            is_lost: true,
            waits: true,
            ..PartitionLag::default()
        };
        measured.insert(partition, found);
    }
    (measured, anew)
}

/// Whether a partition waits for a known reason. A held key is such a reason only until its retry is due, and only if
/// nothing else is left to do: if there are more records, and room for them, they have to come in.
fn has_reason(state: &PartitionState, ends: Option<Ends>, now: Instant) -> bool {
    let is_read = ends.is_none_or(|ends| state.read_to.is_some_and(|read_to| ends.stable <= read_to));
    let waits_for_held =
        state.held_until.is_some_and(|due| now < due + HELD_LATE) && (is_read || state.held_full.is_some());
    state.outage.is_some()
        || state.paused
        || state.unreadable.is_some()
        || state.panics_again.is_some()
        || waits_for_held
}

/// Sets Prometheus' gauges. Those of a partition that is no longer ours drop to 0, because its new owner exports them.
/// Those of a lost partition stay until it has an owner.
fn show(health: &GroupHealth, measured: &BTreeMap<i32, PartitionLag>, shown: &mut Vec<i32>) {
    let nothing = PartitionLag { lag: Some(0), ..PartitionLag::default() };
    let gone = || shown.iter().filter(|partition| !measured.contains_key(partition));
    for &partition in gone() {
        metrics::gauge!("commit_behind_records", &health.labels(partition)).set(0.0);
    }
    for (&partition, found) in measured.iter().chain(gone().map(|partition| (partition, &nothing))) {
        let labels = health.labels(partition);
        if let Some(lag) = found.lag {
            metrics::gauge!("consumer_lag_records", &labels).set(lag as f64);
        }
        metrics::gauge!("watermark_age_seconds", &labels).set(found.watermark_age);
        metrics::gauge!("partition_waiting", &labels).set(f64::from(found.waits));
        metrics::gauge!("partition_paused", &labels).set(f64::from(found.paused));
        let (records, age) = found.unstable.map_or((0, 0.0), |open| (open.records, open.age.as_secs_f64()));
        metrics::gauge!("unstable_records", &labels).set(records as f64);
        metrics::gauge!("unstable_age_seconds", &labels).set(age);
        metrics::gauge!("partition_unreadable", &labels).set(f64::from(found.unreadable));
        metrics::gauge!("partition_stalled", &labels).set(f64::from(found.stalled.is_some()));
    }
    let assigned = measured.values().filter(|found| !found.is_lost).count();
    metrics::gauge!("assigned_partitions", "group" => health.group().to_owned()).set(assigned as f64);
    *shown = measured.keys().copied().collect();
}

#[cfg(test)]
mod tests;
