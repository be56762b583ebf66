//! The lag, and the state of tasks, as CloudWatch metrics, in the embedded metric format: a JSON line in the log, which
//! CloudWatch Logs parses. No SDK, no call.
//!
//! Every worker writes one document for each group and task in each interval, all at the same time by the clock. A
//! group's metric has one value for each of the worker's partitions. So over one interval the `Sum` of `ConsumerLag` is
//! the lag of the whole topic, and its `Maximum` that of the worst partition of all workers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};
use shared::runtime::config::{duration_in, trimmed};
use time::OffsetDateTime;

use crate::observe::partition_lag::PartitionLag;

/// The maximum number of values of a metric in one document; the largest are kept.
const MAX_VALUES: usize = 100;

const EMF_INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

#[derive(Debug)]
pub struct Emitter {
    namespace: String,
    /// The dimension beside the service, and its value.
    dimension: (&'static str, String),
    interval: Duration,
    /// The number of the last interval whose document was written.
    last: i128,
    told: Totals,
}

/// Counts since the process started. A document contains their increase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that are lost or may be.
    pub records_lost: u64,
    pub dead_letters: u64,
    /// Those of events that alone met an outage-class error.
    pub unknown_errors: u64,
    pub log_lines_dropped: u64,
}

impl Totals {
    fn since(self, before: Self) -> Self {
        Self {
            records_lost: self.records_lost.saturating_sub(before.records_lost),
            dead_letters: self.dead_letters.saturating_sub(before.dead_letters),
            unknown_errors: self.unknown_errors.saturating_sub(before.unknown_errors),
            log_lines_dropped: self.log_lines_dropped.saturating_sub(before.log_lines_dropped),
        }
    }
}

impl Emitter {
    /// An emitter, if a namespace is set. The first document is written at the start of the next interval.
    pub fn new(config: &EmfConfig, (dimension, value): (&'static str, &str), now: OffsetDateTime) -> Option<Self> {
        let namespace = config.namespace.clone()?;
        let (dimension, interval) = ((dimension, value.to_owned()), config.interval);
        Some(Self { namespace, dimension, interval, last: beat(now, interval), told: Totals::default() })
    }

    /// Whether this interval has no document yet. Marks it as written.
    pub fn is_due(&mut self, now: OffsetDateTime) -> bool {
        let beat = beat(now, self.interval);
        std::mem::replace(&mut self.last, beat) != beat
    }

    /// The document of a group with these partitions; docs/operations.md explains each metric. `ConsumerLag` leaves out partitions
    /// that more workers cannot help: those that wait for an operator, and those that cannot be read. While Kafka does
    /// not answer, the last known lag counts, so that a sum over all workers is not too small.
    pub fn document(
        &self,
        measured: &BTreeMap<i32, PartitionLag>,
        worker_waits: bool,
        totals: Totals,
        now: OffsetDateTime,
    ) -> Value {
        let worked_off = || measured.values().filter(|found| !found.paused);
        let mut lag: Vec<_> = worked_off().filter(|found| !found.unreadable).filter_map(|found| found.lag).collect();
        lag.sort_unstable_by(|a, b| b.cmp(a));
        lag.truncate(MAX_VALUES);
        let mut age: Vec<_> = worked_off().map(|found| found.watermark_age).collect();
        age.sort_unstable_by(|a, b| b.total_cmp(a));
        age.truncate(MAX_VALUES);
        let unknown = measured.values().any(|found| found.is_unknown);
        let waits = worker_waits || unknown || measured.values().any(|found| found.waits);
        let count = |is: fn(&PartitionLag) -> bool| json!(measured.values().filter(|found| is(found)).count());
        let unstable = || measured.values().filter_map(|found| found.unstable);
        let unstable_age = unstable().map(|open| open.age).max().unwrap_or_default();
        let alone: usize = measured.values().map(|found| found.held_alone).sum();
        let new = totals.since(self.told);

        let all = [
            ("Waiting", "None", json!(u8::from(waits))),
            ("PausedPartitions", "Count", count(|found| found.paused)),
            ("AssignedPartitions", "Count", count(|found| !found.is_lost)),
            ("StalledPartitions", "Count", count(|found| found.stalled.is_some())),
            ("UnreadablePartitions", "Count", count(|found| found.unreadable)),
            ("UnstableRecords", "Count", json!(unstable().map(|open| open.records).sum::<u64>())),
            ("UnstableAge", "Seconds", json!(unstable_age.as_secs_f64())),
            ("HeldAloneKeys", "Count", json!(alone)),
            ("DeadLetters", "Count", json!(new.dead_letters)),
            ("UnknownErrorLetters", "Count", json!(new.unknown_errors)),
            ("RecordsLost", "Count", json!(new.records_lost)),
            ("LogLinesDropped", "Count", json!(new.log_lines_dropped)),
            ("ConsumerLag", "Count", json!(lag)),
            ("WatermarkAge", "Seconds", json!(age)),
        ];
        self.written(&all, now)
    }

    /// The document of a task.
    pub fn task_document(&self, is_running: bool, totals: Totals, now: OffsetDateTime) -> Value {
        let new = totals.since(self.told);
        let all = [
            ("TaskRunning", "None", json!(u8::from(is_running))),
            ("LogLinesDropped", "Count", json!(new.log_lines_dropped)),
        ];
        self.written(&all, now)
    }

    fn written(&self, all: &[(&str, &str, Value)], now: OffsetDateTime) -> Value {
        let (dimension, of) = &self.dimension;
        let mut metrics = Vec::new();
        let mut document = json!({"Service": "worker-service"});
        insert(&mut document, dimension, json!(of));
        // The format allows neither a metric without values, nor a name without a member.
        for (name, unit, value) in all {
            if value.as_array().is_none_or(|values| !values.is_empty()) {
                metrics.push(json!({"Name": name, "Unit": unit}));
                insert(&mut document, name, value.clone());
            }
        }
        let directive =
            json!({"Namespace": self.namespace, "Dimensions": [["Service", dimension]], "Metrics": metrics});
        let timestamp = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        insert(&mut document, "_aws", json!({"Timestamp": timestamp, "CloudWatchMetrics": [directive]}));
        document
    }

    /// A document with these counts was written: the next one contains the increase since. Not called if the log had no
    /// room for the document.
    pub fn told(&mut self, totals: Totals) {
        self.told = totals;
    }
}

fn insert(document: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = document {
        members.insert(name.to_owned(), value);
    }
}

fn beat(now: OffsetDateTime, interval: Duration) -> i128 {
    now.unix_timestamp_nanos() / i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX).max(1)
}

/// The lag as CloudWatch metrics, in the log.
#[derive(Debug, Clone, clap::Args)]
pub struct EmfConfig {
    /// The CloudWatch namespace of the metrics that the worker writes into its log in the embedded metric format: lag,
    /// age, outages, tasks. Off if this is not set.
    #[arg(id = "emf-namespace", long, value_name = "EMF_NAMESPACE", env = "EMF_NAMESPACE", value_parser = trimmed(emf_namespace))]
    pub namespace: Option<String>,
    /// How often the worker writes them, from 1s to 1h; all workers write at the same time.
    #[arg(id = "emf-interval", long, value_name = "EMF_INTERVAL", env = "EMF_INTERVAL", default_value = "60s", value_parser = duration_in(EMF_INTERVALS))]
    pub interval: Duration,
}

fn emf_namespace(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_/#:".contains(c);
    if !(1..=255).contains(&text.len()) || !text.chars().all(known) {
        return Err("it must be 1 to 255 of A-Z a-z 0-9 . - _ / # :".to_owned());
    }
    if text.starts_with("AWS/") { Err("AWS/ is Amazon's own".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests;
