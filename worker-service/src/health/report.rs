//! What `/health/ready` says.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Health, LONG_OPEN, LaneState, Unreadable, Unstable};

impl Health {
    /// Ready while the group is joined, Kafka answers, and no partition waits out an outage, stands before what cannot
    /// be read or still for no reason, takes nothing in because too much is held, or waits behind a transaction that has
    /// been open for long.
    pub fn report(&self) -> shared::ops::Health {
        let state = self.state();
        let any = |is_so: fn(&LaneState) -> bool| state.lanes.values().any(is_so);
        // What a partition waits for, as a rule all of them wait for: PostgreSQL, say.
        let outage = state.of_all().or_else(|| state.lanes.values().find_map(|lane| lane.outage.as_deref()));
        let status = if state.stopping {
            "stopping"
        } else if any(|lane| lane.panics_again.is_some()) {
            "the code of a partition panics again and again"
        } else if outage.is_some() {
            "waiting out an outage"
        } else if !state.joined {
            "joining"
        } else if any(|lane| lane.unreadable.is_some()) {
            "a partition cannot be read"
        } else if any(|lane| lane.stalled.is_some()) {
            "a partition stands still"
        } else if any(|lane| lane.held_full.is_some()) {
            "a partition takes nothing in: too much is held"
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
                let again = lane.panics_again.as_ref().map(|again| &again.why);
                let unreadable = lane.unreadable.as_ref().map(|Unreadable { offset, error, since, .. }| {
                    json!({"offset": offset, "error": error, "seconds": since.elapsed().as_secs()})
                });
                let full = lane.held_full.as_ref().map(|full| {
                    json!({"records": full.records, "bytes": full.bytes, "device_id": full.device.as_str(),
                        "device_records": full.device_records, "device_bytes": full.device_bytes})
                });
                let lane = json!({"watermark": lane.watermark, "held_devices": lane.held,
                    "held_alone_devices": lane.held_alone, "held_full": full, "paused": lane.paused,
                    "panics": lane.panics, "panics_again": again, "outage": lane.outage, "unstable": unstable, "unreadable": unreadable,
                    "stalled_seconds": lane.stalled.map(|since| since.as_secs())});
                (partition.to_string(), lane)
            })
            .collect();
        let report = json!({"status": status, "outage": outage, "warnings": state.topics, "cache": state.cache.report(), "partitions": partitions});
        (status == "ready", report)
    }
}
