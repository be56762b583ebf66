//! What the worker says of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::lane::Lane;

/// The worker's state, as seen from outside; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    joined: bool,
    stopping: bool,
    lanes: BTreeMap<i32, LaneState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LaneState {
    outage: Option<String>,
    paused: bool,
    held: usize,
    watermark: Option<i64>,
}

impl Health {
    /// The group has told which partitions are ours, if any.
    pub fn joined(&self) {
        self.state().joined = true;
    }

    /// The worker is about to end.
    pub fn stopping(&self) {
        self.state().stopping = true;
    }

    /// How a lane is.
    pub fn lane(&self, partition: i32, lane: &Lane) {
        let mut state = self.state();
        let entry = state.lanes.entry(partition).or_insert_with(|| LaneState {
            outage: None,
            paused: false,
            held: 0,
            watermark: None,
        });
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
        entry.watermark = lane.watermark();
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        {
            metrics::gauge!("held_devices", "partition" => partition.to_string()).set(entry.held as f64);
        }
    }

    /// A partition is no longer ours.
    pub fn gone(&self, partition: i32) {
        self.state().lanes.remove(&partition);
        metrics::gauge!("held_devices", "partition" => partition.to_string()).set(0.0);
    }

    /// Ready while the group is joined and no partition waits out an outage.
    pub fn report(&self) -> shared::ops::Health {
        let state = self.state();
        let outage = state.lanes.values().any(|lane| lane.outage.is_some());
        let status = match (state.stopping, state.joined, outage) {
            (true, ..) => "stopping",
            (_, false, _) => "joining",
            (.., true) => "waiting out an outage",
            _ => "ready",
        };
        let partitions: BTreeMap<_, _> = state
            .lanes
            .iter()
            .map(|(partition, lane)| {
                let lane = json!({"watermark": lane.watermark, "held_devices": lane.held, "paused": lane.paused,
                    "outage": lane.outage});
                (partition.to_string(), lane)
            })
            .collect();
        (status == "ready", json!({"status": status, "partitions": partitions}))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
