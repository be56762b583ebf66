//! The report of `/health/ready`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::cache::{Cache, Fencer};

use super::{GroupHealth, LONG_OPEN, PartitionState, Unreadable, Unstable};
use crate::consumer::tasks::TaskHealth;

/// How often Redis is asked.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// The worker's state, as seen from outside; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<All>);

#[derive(Debug, Default)]
struct All {
    groups: Vec<GroupHealth>,
    tasks: Vec<TaskHealth>,
    stopping: AtomicBool,
    /// The last state of Redis. It does not affect readiness: events are still applied, and fences are kept.
    cache: Mutex<Option<Value>>,
}

impl Health {
    /// The health of a worker with these groups and tasks.
    pub fn new(groups: Vec<GroupHealth>, tasks: Vec<TaskHealth>) -> Self {
        Self(Arc::new(All { groups, tasks, ..All::default() }))
    }

    /// The worker is shutting down.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Asks Redis at an interval, for ever, and stores the answer or the error, and how many fences wait for it.
    pub async fn watch_cache(&self, cache: &Cache, fencer: &Fencer) {
        loop {
            let answer = cache.answering().await.all();
            let pending = fencer.pending_len();
            let found = match answer {
                Ok(_) => json!({"status": "up", "fences_pending": pending}),
                Err(error) => json!({"status": "down", "error": format!("{error:#}"), "fences_pending": pending}),
            };
            *self.0.cache.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
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
        // Handlers of the same stream have the same warnings about its topics.
        let mut seen = BTreeSet::new();
        warnings.retain(|warning| seen.insert(warning.to_string()));
        let cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cache = cache.unwrap_or_else(|| json!({"status": "unknown"}));
        let groups: BTreeMap<_, _> = reports.iter().map(|(group, (_, report))| (group, report)).collect();
        let task = |task: &TaskHealth| json!({"running": task.is_running(), "panics": task.panics()});
        let tasks: BTreeMap<_, _> = self.0.tasks.iter().map(|it| (it.name(), task(it))).collect();
        let report = json!({"status": status, "outage": outage, "warnings": warnings, "cache": cache, "groups": groups,
            "tasks": tasks});
        (status == "ready", report)
    }
}

impl GroupHealth {
    /// Ready while nothing holds up the group or one of its partitions. A paused partition and a held key do not count.
    pub fn report(&self) -> shared::runtime::ops::Health {
        let state = self.state();
        let any = |is_so: fn(&PartitionState) -> bool| state.partitions.values().any(is_so);
        // One reason is enough: all partitions usually wait for the same thing, such as PostgreSQL.
        let outage = state.of_all().or_else(|| state.partitions.values().find_map(|known| known.outage.as_deref()));
        let is_long_open = |known: &PartitionState| known.unstable.is_some_and(|unstable| unstable.age >= LONG_OPEN);
        let troubles = [
            (any(|known| known.panics_again.is_some()), "a partition's code panics repeatedly"),
            (outage.is_some(), "waiting out an outage"),
            (!state.joined, "joining"),
            (any(|known| known.unreadable.is_some()), "a partition cannot be read"),
            (any(|known| known.stalled.is_some()), "a partition stands still"),
            (any(|known| known.held_full.is_some()), "a partition takes no more records: too much is held"),
            (any(is_long_open), "waiting behind an open transaction"),
        ];
        let status = troubles.into_iter().find(|(is_so, _)| *is_so).map_or("ready", |(_, status)| status);
        let partitions: BTreeMap<_, _> = state
            .partitions
            .iter()
            .map(|(partition, known)| {
                // The client cannot find out which producer it is: that would take Kafka's DescribeProducers.
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
