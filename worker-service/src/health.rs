//! What the worker says of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use time::OffsetDateTime;

pub use self::unreadable::Unreadable;
use crate::lag::{Measured, Unstable};
use crate::lane::Lane;

mod unreadable;

/// A transaction of somebody else's that is open for longer makes the worker unready. By itself Kafka ends one after
/// its producer's `transaction.timeout.ms`, which is a minute by default.
const LONG_OPEN: Duration = Duration::from_secs(60);

/// The worker's state, as seen from outside; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    joined: bool,
    stopping: bool,
    /// What is waited for before the group is joined.
    before_joining: Option<String>,
    /// Why Kafka does not answer, if it does not.
    kafka: Option<String>,
    lanes: BTreeMap<i32, LaneState>,
    /// What is wrong with the topics' settings.
    topics: Vec<String>,
    /// Whether the input topic drops records whose key came again.
    compacted: bool,
}

/// What is known of a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Why it waits out an outage, if it does.
    pub outage: Option<String>,
    /// Whether it waits for an operator.
    pub paused: bool,
    /// Devices that are held.
    pub held: usize,
    /// Those of them that alone meet an error that is not known.
    pub held_alone: usize,
    /// Panics that were caught since the partition is ours.
    pub panics: u64,
    /// Where the group stood when the lane began.
    pub begun_at: Option<i64>,
    /// The offset up to which all is done; none before anything came in.
    pub watermark: Option<i64>,
    /// The time of the first record without its effect, if one has come in.
    pub waiting_since: Option<OffsetDateTime>,
    /// What lies behind the last stable offset, if anything.
    pub unstable: Option<Unstable>,
    /// For how long it has stood still for no reason, if it does.
    pub stalled: Option<Duration>,
    /// What it stands before, where that cannot be read.
    pub unreadable: Option<Unreadable>,
}

impl LaneState {
    /// Where it stands: before the first record without its effect.
    pub fn at(&self) -> Option<i64> {
        self.watermark.or(self.begun_at)
    }
}

impl Health {
    /// The group has told which partitions are ours, if any.
    pub fn joined(&self) {
        self.state().joined = true;
    }

    /// The group is not joined yet, because something else has to be there first; `None` when it is.
    pub fn waits_before_joining(&self, why: Option<String>) {
        self.state().before_joining = why;
    }

    /// Kafka does not answer, and why; `None` when it does again. A lane does not tell: nothing comes
    /// in, and after a while the partitions are somebody else's.
    pub fn kafka_is_away(&self, why: Option<String>) {
        let mut state = self.state();
        match (&state.kafka, &why) {
            (None, Some(why)) => tracing::error!(error = why, "Kafka does not answer"),
            (Some(_), None) => tracing::info!("Kafka answers again"),
            _ => {}
        }
        state.kafka = why;
    }

    /// A lane begins where the group stood, if that is known.
    pub fn begun(&self, partition: i32, at: Option<i64>) {
        let mut state = self.state();
        let lane = state.lanes.entry(partition).or_default();
        (lane.begun_at, lane.watermark) = (at, None);
        if lane.outage.take().is_some() {
            tracing::info!(partition, "the outage is over");
        }
    }

    /// A lane does not begin yet, and why.
    pub fn waits_to_begin(&self, partition: i32, why: String) {
        tracing::warn!(partition, error = why, "the partition does not begin yet");
        self.state().lanes.entry(partition).or_default().outage = Some(why);
    }

    /// How far the partitions are behind, as it was measured.
    pub fn measured(&self, measured: &BTreeMap<i32, Measured>) {
        let mut state = self.state();
        for (&partition, found) in measured {
            let Some(lane) = state.lanes.get_mut(&partition) else { continue };
            let is_long = |unstable: Option<Unstable>| unstable.is_some_and(|unstable| unstable.age >= LONG_OPEN);
            match (lane.unstable, found.unstable) {
                (None, Some(Unstable { records, offset, .. })) => {
                    tracing::warn!(partition, offset, records, "records wait behind a transaction that is open");
                }
                (Some(_), None) => tracing::info!(partition, "no transaction is open any more"),
                (before, Some(Unstable { records, offset, age })) if is_long(found.unstable) && !is_long(before) => {
                    tracing::error!(
                        partition,
                        offset,
                        records,
                        ?age,
                        "a transaction of another producer is open for long: what is behind it has no effect"
                    );
                }
                _ => {}
            }
            match (lane.stalled, found.stalled) {
                (None, Some(since)) => {
                    let (offset, lag) = (lane.at(), found.lag);
                    tracing::error!(partition, offset, lag, ?since, "the partition stands still for no reason");
                }
                (Some(_), None) => tracing::info!(partition, "the partition moves again"),
                _ => {}
            }
            (lane.unstable, lane.stalled) = (found.unstable, found.stalled);
            lane.unreadable.take_if(|unreadable| unreadable.is_over(Instant::now()));
        }
    }

    /// The code of a partition panicked, and that was caught.
    pub fn panicked(&self, partition: i32) {
        self.state().lanes.entry(partition).or_default().panics += 1;
    }

    /// A partition waits before it begins anew, and why.
    pub fn begins_anew(&self, partition: i32, why: String) {
        tracing::error!(partition, error = why, "the partition begins anew");
        self.state().lanes.entry(partition).or_default().outage = Some(why);
    }

    /// What is wrong with the topics' settings; nothing waits for it.
    pub fn topics(&self, warnings: Vec<String>) {
        self.state().topics = warnings;
    }

    /// Whether the input topic drops records whose key came again.
    pub fn input_is_compacted(&self, compacted: bool) {
        self.state().compacted = compacted;
    }

    /// Whether it is known to.
    pub fn is_input_compacted(&self) -> bool {
        self.state().compacted
    }

    /// The lanes as they are.
    pub fn lanes(&self) -> BTreeMap<i32, LaneState> {
        self.state().lanes.clone()
    }

    /// Whether something is waited for that is no lane's own affair: Kafka, or what has to be there
    /// before the group is joined.
    pub fn waits(&self) -> bool {
        let state = self.state();
        state.before_joining.is_some() || state.kafka.is_some()
    }

    /// The worker is about to end.
    pub fn stopping(&self) {
        self.state().stopping = true;
    }

    /// How a lane is.
    pub fn lane(&self, partition: i32, lane: &Lane) {
        let mut state = self.state();
        let entry = state.lanes.entry(partition).or_default();
        if entry.outage.as_deref() != lane.outage() {
            match lane.outage() {
                Some(why) if entry.outage.is_none() => {
                    tracing::error!(partition, error = why, "an outage: the partition waits");
                }
                Some(_) => {}
                None => tracing::info!(partition, "the outage is over"),
            }
            entry.outage = lane.outage().map(str::to_owned);
        }
        entry.paused = lane.is_paused();
        entry.held = lane.held_devices();
        entry.held_alone = lane.held_alone();
        entry.watermark = lane.watermark();
        entry.waiting_since = lane.waiting_since();
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        {
            metrics::gauge!("held_devices", "partition" => partition.to_string()).set(entry.held as f64);
            metrics::gauge!("held_alone_devices", "partition" => partition.to_string()).set(entry.held_alone as f64);
        }
    }

    /// A partition is no longer ours.
    pub fn gone(&self, partition: i32) {
        self.state().lanes.remove(&partition);
        metrics::gauge!("held_devices", "partition" => partition.to_string()).set(0.0);
        metrics::gauge!("held_alone_devices", "partition" => partition.to_string()).set(0.0);
    }

    /// Ready while the group is joined, Kafka answers, and no partition waits out an outage, stands before what cannot
    /// be read or still for no reason, or waits behind a transaction that has been open for long.
    pub fn report(&self) -> shared::ops::Health {
        let state = self.state();
        let any = |is_so: fn(&LaneState) -> bool| state.lanes.values().any(is_so);
        let of_all = state.before_joining.as_ref().or(state.kafka.as_ref());
        let status = if state.stopping {
            "stopping"
        } else if of_all.is_some() || any(|lane| lane.outage.is_some()) {
            "waiting out an outage"
        } else if !state.joined {
            "joining"
        } else if any(|lane| lane.unreadable.is_some()) {
            "a partition cannot be read"
        } else if any(|lane| lane.stalled.is_some()) {
            "a partition stands still"
        } else if any(|lane| lane.unstable.is_some_and(|unstable| unstable.age >= LONG_OPEN)) {
            "waiting behind an open transaction"
        } else {
            "ready"
        };
        let partitions: BTreeMap<_, _> = state
            .lanes
            .iter()
            .map(|(partition, lane)| {
                // Which producer it is the client has no way to ask (Kafka's DescribeProducers).
                let unstable = lane.unstable.map(|Unstable { records, offset, age }| {
                    json!({"records": records, "from_offset": offset, "age_seconds": age.as_secs()})
                });
                let unreadable = lane.unreadable.as_ref().map(|Unreadable { offset, error, since, .. }| {
                    json!({"offset": offset, "error": error, "seconds": since.elapsed().as_secs()})
                });
                let lane = json!({"watermark": lane.watermark, "held_devices": lane.held,
                    "held_alone_devices": lane.held_alone, "paused": lane.paused,
                    "panics": lane.panics, "outage": lane.outage, "unstable": unstable, "unreadable": unreadable,
                    "stalled_seconds": lane.stalled.map(|since| since.as_secs())});
                (partition.to_string(), lane)
            })
            .collect();
        let report = json!({"status": status, "outage": of_all, "warnings": state.topics, "partitions": partitions});
        (status == "ready", report)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: &Health) -> (bool, String) {
        let (ready, report) = health.report();
        (ready, report["status"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_topic_that_is_not_as_it_has_to_be_is_told_and_waited_for_by_nobody() {
        let health = Health::default();
        health.joined();
        health.topics(vec!["t: cleanup.policy=compact".to_owned()]);
        assert_eq!(status(&health), (true, "ready".into()));
        assert_eq!(health.report().1["warnings"], json!(["t: cleanup.policy=compact"]));
    }

    #[test]
    fn ready_from_joining_to_the_end_unless_an_outage_is_waited_out() {
        let health = Health::default();
        assert_eq!(status(&health), (false, "joining".into()));
        health.waits_before_joining(Some("waiting for PostgreSQL: no answer".into()));
        assert_eq!(status(&health), (false, "waiting out an outage".into()));
        assert_eq!(health.report().1["outage"], "waiting for PostgreSQL: no answer");
        health.waits_before_joining(None);
        health.joined();
        assert_eq!(status(&health), (true, "ready".into()));
        health.state().lanes.entry(3).or_default().outage = Some("SQLSTATE 57P01".into());
        assert_eq!(status(&health), (false, "waiting out an outage".into()));
        assert_eq!(health.report().1["partitions"]["3"]["outage"], "SQLSTATE 57P01");
        health.gone(3);
        assert_eq!(status(&health), (true, "ready".into()), "whose partition it is now says it");
        assert!(!health.waits());
        health.kafka_is_away(Some("no broker".into()));
        assert_eq!(status(&health), (false, "waiting out an outage".into()), "with or without a partition");
        assert_eq!((health.waits(), &health.report().1["outage"]), (true, &json!("no broker")));
        health.kafka_is_away(None);
        assert_eq!(status(&health), (true, "ready".into()));
        health.waits_to_begin(4, "no coordinator".into());
        assert_eq!(health.report().1["partitions"]["4"]["outage"], "no coordinator");
        assert_eq!(status(&health), (false, "waiting out an outage".into()), "it has not begun");
        health.begun(4, Some(7));
        assert_eq!(status(&health), (true, "ready".into()));
        health.stopping();
        assert_eq!(status(&health), (false, "stopping".into()), "before anything ends");
    }

    #[test]
    fn an_open_transaction_is_named_at_once_and_unready_when_it_is_open_for_long() {
        let health = Health::default();
        health.joined();
        health.begun(0, Some(7));
        let open = |seconds| {
            let unstable = Unstable { records: 3, offset: 12, age: Duration::from_secs(seconds) };
            BTreeMap::from([(0, Measured { unstable: Some(unstable), ..Measured::default() })])
        };
        health.measured(&open(0));
        assert_eq!(status(&health), (true, "ready".into()));
        let told = json!({"records": 3, "from_offset": 12, "age_seconds": 0});
        assert_eq!(health.report().1["partitions"]["0"]["unstable"], told);
        health.measured(&open(59));
        assert_eq!(status(&health), (true, "ready".into()));
        health.measured(&open(60));
        assert_eq!(status(&health), (false, "waiting behind an open transaction".into()));
        health.measured(&BTreeMap::from([(0, Measured::default()), (9, Measured::default())]));
        assert_eq!(status(&health), (true, "ready".into()));
        let report = health.report().1;
        assert_eq!(report["partitions"].as_object().unwrap().len(), 1, "of a partition that is gone nothing is kept");
        assert_eq!(report["partitions"]["0"]["unstable"], json!(null));
    }

    #[test]
    fn a_partition_that_stands_still_is_unready_also_while_it_begins_anew() {
        let health = Health::default();
        health.joined();
        health.begun(0, Some(7));
        let stalled = Measured { stalled: Some(Duration::from_secs(200)), lag: Some(3), ..Measured::default() };
        health.measured(&BTreeMap::from([(0, stalled)]));
        assert_eq!(status(&health), (false, "a partition stands still".into()));
        assert_eq!(health.report().1["partitions"]["0"]["stalled_seconds"], 200);
        health.begins_anew(0, "it stood still".into());
        health.begun(0, Some(7));
        assert_eq!(status(&health), (false, "a partition stands still".into()), "until it moves");
        health.measured(&BTreeMap::from([(0, Measured::default())]));
        assert_eq!(status(&health), (true, "ready".into()));
    }
}
