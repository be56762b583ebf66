//! What the worker says of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use time::OffsetDateTime;

use crate::lane::Lane;

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
        self.state().lanes.entry(partition).or_default().begun_at = at;
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

    /// Ready while the group is joined, Kafka answers and no partition waits out an outage.
    pub fn report(&self) -> shared::ops::Health {
        let state = self.state();
        let outage = state.lanes.values().any(|lane| lane.outage.is_some());
        let of_all = state.before_joining.as_ref().or(state.kafka.as_ref());
        let status = match (state.stopping, of_all.is_some() || outage, state.joined) {
            (true, ..) => "stopping",
            (_, true, _) => "waiting out an outage",
            (.., false) => "joining",
            _ => "ready",
        };
        let partitions: BTreeMap<_, _> = state
            .lanes
            .iter()
            .map(|(partition, lane)| {
                let lane = json!({"watermark": lane.watermark, "held_devices": lane.held,
                    "held_alone_devices": lane.held_alone, "paused": lane.paused,
                    "panics": lane.panics, "outage": lane.outage});
                (partition.to_string(), lane)
            })
            .collect();
        let report = json!({"status": status, "outage": of_all, "partitions": partitions});
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
        health.stopping();
        assert_eq!(status(&health), (false, "stopping".into()), "before anything ends");
    }
}
