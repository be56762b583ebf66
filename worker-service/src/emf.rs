//! The lag as CloudWatch metrics, by the embedded metric format: a JSON line in the log, which
//! CloudWatch Logs takes apart. No SDK, no call.
//!
//! Every worker writes one document in each interval, all at the same beat of the clock, and a
//! metric has one value for each partition of its own. So over one interval the `Sum` of
//! `ConsumerLag` is the lag of the whole topic, its `Maximum` that of the worst partition, whichever
//! worker has it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::config::EmfConfig;
use crate::lag::Measured;

/// The most values that a metric may have in one document; the largest are told.
const MAX_VALUES: usize = 100;

/// Says when a document is due, and writes it.
#[derive(Debug)]
pub struct Emitter {
    namespace: String,
    interval: Duration,
    /// The number of the last interval that has its document.
    last: i128,
}

impl Emitter {
    /// One, where a namespace is set. The first document comes at the next beat.
    pub fn new(config: &EmfConfig, now: OffsetDateTime) -> Option<Self> {
        let namespace = config.namespace.clone()?;
        let interval = config.interval;
        Some(Self { namespace, interval, last: beat(now, interval) })
    }

    /// Whether this interval has no document yet; asked once for each document.
    pub fn is_due(&mut self, now: OffsetDateTime) -> bool {
        let beat = beat(now, self.interval);
        std::mem::replace(&mut self.last, beat) != beat
    }

    /// The document of these partitions.
    ///
    /// - `ConsumerLag`: records without their effect, for each partition that is being worked off. One
    ///   that waits for an operator is left out, and so is one that cannot be read: more workers do not help it.
    /// - `WatermarkAge`: how long the first of these has been in the log, or of those that cannot be read: nothing else
    ///   here tells of them.
    /// - `Waiting`: 1 while an outage is waited out, PostgreSQL's or Kafka's. Whoever scales by the
    ///   lag must not while this is not 0: it grows, and more workers do not help.
    /// - `PausedPartitions`, `AssignedPartitions`: how many.
    pub fn document(&self, measured: &BTreeMap<i32, Measured>, worker_waits: bool, now: OffsetDateTime) -> Value {
        let worked_off = || measured.values().filter(|found| !found.paused);
        let mut lag: Vec<_> = worked_off().filter(|found| !found.unreadable).filter_map(|found| found.lag).collect();
        lag.sort_unstable_by(|a, b| b.cmp(a));
        lag.truncate(MAX_VALUES);
        let mut age: Vec<_> = worked_off().map(|found| found.watermark_age).collect();
        age.sort_unstable_by(|a, b| b.total_cmp(a));
        age.truncate(MAX_VALUES);
        let unknown = measured.values().any(|found| found.lag.is_none());
        let waits = worker_waits || unknown || measured.values().any(|found| found.waits);
        let paused = measured.values().filter(|found| found.paused).count();

        let mut metrics = vec![
            json!({"Name": "Waiting", "Unit": "None"}),
            json!({"Name": "PausedPartitions", "Unit": "Count"}),
            json!({"Name": "AssignedPartitions", "Unit": "Count"}),
        ];
        let mut document = json!({
            "Service": "worker-service",
            "Waiting": u8::from(waits), "PausedPartitions": paused, "AssignedPartitions": measured.len(),
        });
        // A metric without a value is none, and one that is named must be there.
        for (name, unit, values) in [("ConsumerLag", "Count", json!(lag)), ("WatermarkAge", "Seconds", json!(age))] {
            if values.as_array().is_some_and(|values| !values.is_empty()) {
                metrics.push(json!({"Name": name, "Unit": unit}));
                insert(&mut document, name, values);
            }
        }
        let directive = json!({"Namespace": self.namespace, "Dimensions": [["Service"]], "Metrics": metrics});
        let timestamp = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        insert(&mut document, "_aws", json!({"Timestamp": timestamp, "CloudWatchMetrics": [directive]}));
        document
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

#[cfg(test)]
mod tests;
