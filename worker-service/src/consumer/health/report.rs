//! What `/health/ready` says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::consumer::tasks::TaskHealth;

use super::{CacheState, GroupHealth, LONG_OPEN, PartitionState, Unreadable, Unstable};

/// The worker's state, as seen from outside; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<All>);

#[derive(Debug, Default)]
struct All {
    groups: Vec<GroupHealth>,
    tasks: Vec<TaskHealth>,
    stopping: AtomicBool,
    /// What is known of Redis, which nothing waits for.
    cache: Mutex<CacheState>,
}

impl Health {
    /// That of a worker with these groups and tasks.
    pub fn new(groups: Vec<GroupHealth>, tasks: Vec<TaskHealth>) -> Self {
        Self(Arc::new(All { groups, tasks, ..All::default() }))
    }

    /// The worker is about to end.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// What is known of Redis.
    pub fn cache(&self, found: CacheState) {
        *self.0.cache.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Ready while every group is.
    pub fn report(&self) -> shared::runtime::ops::Health {
        let reports: Vec<_> = self.0.groups.iter().map(|group| (group.group().to_owned(), group.report())).collect();
        let unready = reports.iter().map(|(_, (_, report))| report).find(|report| report["status"] != "ready");
        let status = match unready {
            _ if self.0.stopping.load(Ordering::Relaxed) => "stopping",
            Some(report) => report["status"].as_str().unwrap_or_default(),
            None => "ready",
        };
        let outage = reports.iter().map(|(_, (_, report))| &report["outage"]).find(|outage| !outage.is_null());
        let warnings = |report: &Value| report["warnings"].as_array().cloned().unwrap_or_default();
        let mut warnings: Vec<_> = reports.iter().flat_map(|(_, (_, report))| warnings(report)).collect();
        // Handlers that read one stream say the same of its topics.
        let mut seen = BTreeSet::new();
        warnings.retain(|warning| seen.insert(warning.to_string()));
        let cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner).report();
        let groups: BTreeMap<_, _> = reports.iter().map(|(group, (_, report))| (group, report)).collect();
        let task = |task: &TaskHealth| json!({"running": task.is_running(), "panics": task.panics()});
        let tasks: BTreeMap<_, _> = self.0.tasks.iter().map(|it| (it.name(), task(it))).collect();
        let report = json!({"status": status, "outage": outage, "warnings": warnings, "cache": cache, "groups": groups,
            "tasks": tasks});
        (status == "ready", report)
    }
}

impl GroupHealth {
    /// Ready while the group is joined, Kafka answers, and no partition waits out an outage, stands before what cannot
    /// be read or still for no reason, takes nothing in because too much is held, or waits behind a transaction that has
    /// been open for long.
    pub fn report(&self) -> shared::runtime::ops::Health {
        let state = self.state();
        let any = |is_so: fn(&PartitionState) -> bool| state.partitions.values().any(is_so);
        // What a partition waits for, as a rule all of them wait for: PostgreSQL, say.
        let outage = state.of_all().or_else(|| state.partitions.values().find_map(|known| known.outage.as_deref()));
        let status = if any(|known| known.panics_again.is_some()) {
            "a partition's code panics repeatedly"
        } else if outage.is_some() {
            "waiting out an outage"
        } else if !state.joined {
            "joining"
        } else if any(|known| known.unreadable.is_some()) {
            "a partition cannot be read"
        } else if any(|known| known.stalled.is_some()) {
            "a partition stands still"
        } else if any(|known| known.held_full.is_some()) {
            "a partition takes no more records: too much is held"
        } else if any(|known| known.unstable.is_some_and(|unstable| unstable.age >= LONG_OPEN)) {
            "waiting behind an open transaction"
        } else {
            "ready"
        };
        let partitions: BTreeMap<_, _> = state
            .partitions
            .iter()
            .map(|(partition, known)| {
                // Which producer it is the client has no way to ask (Kafka's DescribeProducers).
                let unstable = known.unstable.map(|Unstable { records, offset, age }| {
                    json!({"records": records, "from_offset": offset, "age_seconds": age.as_secs()})
                });
                let again = known.panics_again.as_ref().map(|again| &again.why);
                let unreadable = known.unreadable.as_ref().map(|Unreadable { offset, error, since, .. }| {
                    json!({"offset": offset, "error": error, "seconds": since.elapsed().as_secs()})
                });
                let full = known.held_full.as_ref().map(|full| {
                    json!({"records": full.records, "bytes": full.bytes, "key": full.key.as_str(),
                        "key_records": full.key_records, "key_bytes": full.key_bytes})
                });
                let shown = json!({"watermark": known.watermark, "held_keys": known.held,
                    "held_alone_keys": known.held_alone, "held_full": full, "paused": known.paused,
                    "panics": known.panics, "panics_again": again, "outage": known.outage, "unstable": unstable, "unreadable": unreadable,
                    "stalled_seconds": known.stalled.map(|since| since.as_secs())});
                (partition.to_string(), shown)
            })
            .collect();
        let report = json!({"status": status, "outage": outage, "warnings": state.topics, "partitions": partitions});
        (status == "ready", report)
    }
}
