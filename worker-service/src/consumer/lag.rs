//! How far behind each partition is: measured every few seconds, for Prometheus, health and CloudWatch. This is also
//! how the worker notices that Kafka is away, or that a partition is stuck.
//!
//! The lag is the number of records before the last stable offset that have had no effect. Records behind that offset
//! wait for another producer's transaction, and are counted separately.

mod commits;
mod kafka_offsets;
mod unstable;
mod waiting_since;
mod watchdog;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use time::OffsetDateTime;

use self::commits::Commits;
pub use self::kafka_offsets::LogEnds;
use self::kafka_offsets::{Ends, KafkaOffsets, ask};
use self::unstable::OpenTransactions;
use self::waiting_since::WaitingSince;
use self::watchdog::{Finding, Observation, Watchdog};
use crate::consumer::group::Group;
use crate::consumer::health::{GroupHealth, PartitionState};
use crate::observe::emf::EmfConfig;
use crate::observe::emf::Emitter;
use crate::observe::partition_lag::PartitionLag;

/// How often it is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
/// The most time that counts between two measurements: a machine that was suspended did not see what happened.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// How late a held key may be tried, because a transaction is under way.
const HELD_LATE: Duration = Duration::from_secs(10);
/// Kafka counts as away after so many requests in a row without an answer: one may be due to a broker that restarts.
const SILENCES: u32 = 2;

/// What is measured, and for whom.
pub struct Lag {
    /// The consumer, once there is one; before that, there is no partition.
    pub consumer: Arc<OnceLock<Weak<BaseConsumer<Group>>>>,
    /// Where the logs end.
    pub log_ends: LogEnds,
    /// The input topic.
    pub topic: String,
    /// The state of the partitions, to which this reports.
    pub health: GroupHealth,
    /// Whether to write metrics for CloudWatch, and how often.
    pub emf: EmfConfig,
    /// How long a partition may be stuck before it is restarted.
    pub stall_timeout: Duration,
    /// How often what is committed is compared with what was stored.
    pub compare_interval: Duration,
}

/// A partition's lag when Kafka last said where the partition ends.
struct LastKnown {
    /// None if it never did.
    lag: Option<u64>,
    at: Instant,
}

/// The state that one measurement leaves to the next.
struct Past {
    /// The time that passed while this ran.
    elapsed: Duration,
    /// When it was measured last.
    measured: Instant,
    waiting: WaitingSince,
    last: BTreeMap<i32, LastKnown>,
    open: OpenTransactions,
    watchdog: Watchdog,
    commits: Commits,
    /// When the committed offsets were last asked for.
    compared: Option<Instant>,
    silences: u32,
}

impl Past {
    fn new(stall_timeout: Duration) -> Self {
        Self {
            elapsed: Duration::ZERO,
            measured: Instant::now(),
            waiting: WaitingSince::default(),
            last: BTreeMap::new(),
            open: OpenTransactions::default(),
            watchdog: Watchdog::new(stall_timeout),
            commits: Commits::default(),
            compared: None,
            silences: 0,
        }
    }
}

impl Lag {
    /// Measures until the consumer is gone.
    pub async fn run(self) {
        let mut emitter = Emitter::new(&self.emf, self.health.group(), OffsetDateTime::now_utc());
        let mut gone = Vec::new();
        let mut past = Past::new(self.stall_timeout);
        let every = [self.emf.interval, self.stall_timeout, self.compare_interval]
            .into_iter()
            .fold(MEASURE_INTERVAL, Duration::min);
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
                .set(flag(waits || measured.values().any(|found| found.waits)));
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
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
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
            compare_commits(&self.health, consumer.context(), held, &mut past.commits);
        }
        offsets
    }
}

/// Finds partitions of which the broker has less committed than was stored, and has them committed again.
fn compare_commits(health: &GroupHealth, group: &Group, held: &BTreeMap<i32, i64>, commits: &mut Commits) {
    let behind = commits.compare(group.stored(), held);
    for partition in held.keys() {
        let records = behind.get(partition).map_or(0, |behind| behind.stored - behind.committed);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
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

/// Passes the findings to the runners.
fn act(health: &GroupHealth, group: &Group, offsets: &KafkaOffsets, anew: &[i32]) {
    for (partition, ends) in &offsets.ends {
        group.ends_at(*partition, ends.stable);
    }
    for partition in anew {
        metrics::counter!("partition_stalls_total", "group" => health.group().to_owned()).increment(1);
        group.begin_anew(*partition);
    }
}

/// What is behind, and the partitions whose runner is to begin anew. Of those that are lost it is what was known of
/// them, and older by now.
fn measure(
    ours: &BTreeMap<i32, PartitionState>,
    lost: &BTreeMap<i32, PartitionState>,
    ends: &BTreeMap<i32, Ends>,
    now: OffsetDateTime,
    past: &mut Past,
) -> (BTreeMap<i32, PartitionLag>, Vec<i32>) {
    let Past { waiting, last, open, watchdog, .. } = past;
    let is_told = |partition: &i32| ours.contains_key(partition) || lost.contains_key(partition);
    waiting.retain(|partition| is_told(&partition));
    last.retain(|partition, _| is_told(partition));
    open.retain(|partition| ours.contains_key(&partition));
    watchdog.retain(|partition| ours.contains_key(&partition));
    past.elapsed += past.measured.elapsed().min(LONGEST_STEP);
    let seen = Instant::now();
    past.measured = seen;
    let elapsed = past.elapsed;
    let mut age_of = |partition, state: &PartitionState, ends: Option<Ends>, lag: Option<u64>| {
        let in_hand = state.waiting_since.map_or(0.0, |since| (now - since).as_seconds_f64());
        // What came in waits also where the log has dropped it by now, as it does at once with a record of 1970.
        let at = ends.map(|Ends { first, .. }| state.at().unwrap_or(first).max(first));
        let waits_at = if state.in_hand { state.at() } else { at.or(state.at()) };
        let waits_for = waiting.waiting(seen, partition, waits_at, ends.map(|ends| ends.stable));
        let last = last.entry(partition).or_insert(LastKnown { lag, at: seen });
        if lag.is_some() {
            *last = LastKnown { lag, at: seen };
        }
        (last.lag, in_hand.max(waits_for.max(seen.saturating_duration_since(last.at)).as_secs_f64()))
    };
    let mut anew = Vec::new();
    let of_one = |(&partition, state): (&i32, &PartitionState)| {
        let ends = ends.get(&partition).copied();
        let at = ends.map(|Ends { first, .. }| state.at().unwrap_or(first).max(first));
        let lag = ends.zip(at).map(|(ends, at)| u64::try_from(ends.stable - at).unwrap_or(0));
        let (last, watermark_age) = age_of(partition, state, ends, lag);
        let unreadable = state.unreadable.is_some();
        let seen = Observation {
            at: state.at(),
            read_to: state.read_to,
            finished: state.finished,
            lag,
            has_reason: has_reason(state, ends, Instant::now()),
        };
        let stalled = match watchdog.look(elapsed, partition, seen) {
            Finding::Fine => None,
            Finding::Stands { since, begin_anew } => {
                anew.extend(begin_anew.then_some(partition));
                Some(since)
            }
        };
        let measured = PartitionLag {
            lag: last,
            is_unknown: lag.is_none(),
            is_lost: false,
            watermark_age,
            waits: state.outage.is_some(),
            paused: state.paused,
            unstable: open.look(elapsed, partition, ends),
            stalled,
            held_alone: state.held_alone,
            unreadable,
        };
        (partition, measured)
    };
    let mut measured: BTreeMap<_, _> = ours.iter().map(of_one).collect();
    for (&partition, state) in lost.iter().filter(|(partition, _)| !ours.contains_key(partition)) {
        let (lag, watermark_age) = age_of(partition, state, None, None);
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

/// Whether a partition waits for something that is known. A held key is such a reason only until its retry is due, and
/// only if nothing else is left to do: if there are more records, and room for them, they have to come in.
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

/// Prometheus' gauges; those of a partition that is no longer ours fall to 0, its new owner has them. Those of one that
/// is lost stay until that is so.
fn show(health: &GroupHealth, measured: &BTreeMap<i32, PartitionLag>, shown: &mut Vec<i32>) {
    let nothing = PartitionLag { lag: Some(0), ..PartitionLag::default() };
    let gone = || shown.iter().filter(|partition| !measured.contains_key(partition));
    for &partition in gone() {
        metrics::gauge!("commit_behind_records", &health.labels(partition)).set(0.0);
    }
    for (&partition, found) in measured.iter().chain(gone().map(|partition| (partition, &nothing))) {
        let labels = health.labels(partition);
        if let Some(lag) = found.lag {
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("consumer_lag_records", &labels).set(lag as f64);
        }
        metrics::gauge!("watermark_age_seconds", &labels).set(found.watermark_age);
        metrics::gauge!("partition_waiting", &labels).set(flag(found.waits));
        metrics::gauge!("partition_paused", &labels).set(flag(found.paused));
        let (records, age) = found.unstable.map_or((0, 0.0), |open| (open.records, open.age.as_secs_f64()));
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("unstable_records", &labels).set(records as f64);
        metrics::gauge!("unstable_age_seconds", &labels).set(age);
        metrics::gauge!("partition_unreadable", &labels).set(flag(found.unreadable));
        metrics::gauge!("partition_stalled", &labels).set(flag(found.stalled.is_some()));
    }
    let assigned = measured.values().filter(|found| !found.is_lost).count();
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("assigned_partitions", "group" => health.group().to_owned()).set(assigned as f64);
    *shown = measured.keys().copied().collect();
}

fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
