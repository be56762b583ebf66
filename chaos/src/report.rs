//! The outcome of a run: a table for people, and `report.json` for machines.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::checker::Broken;
use crate::plan::{Fault, Step};

/// Everything about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the schedule was made from.
    pub seed: u64,
    /// The length, in seconds.
    pub seconds: u64,
    /// The faults that happened.
    pub faults: Vec<Step>,
    /// Events answered 202.
    pub accepted: u64,
    /// Posts of several events at once.
    pub batches: u64,
    /// Of these, answered 207.
    pub partial_batches: u64,
    /// Events sent again although they had been acknowledged, or twice in one post.
    pub duplicates: u64,
    /// Posts that were answered otherwise, or not at all.
    pub failed_posts: u64,
    /// Reads answered.
    pub reads: u64,
    /// Rows in `events`.
    pub rows: usize,
    /// Of these, rows that came behind a newer state.
    pub superseded: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Bodies in the cache at the end, each compared with its row.
    pub cached: usize,
    /// Partitions assigned, over all workers.
    pub assignments: usize,
    /// Promises broken.
    pub broken: Vec<Broken>,
}

impl Report {
    /// The table.
    pub fn table(&self) -> String {
        let mut kinds: BTreeMap<Fault, usize> = BTreeMap::new();
        for step in &self.faults {
            *kinds.entry(step.fault).or_default() += 1;
        }
        let mut text = String::from("\nfault                 times\n");
        for (kind, times) in kinds {
            text.push_str(&format!("{:<20} {times:>6}\n", format!("{kind:?}")));
        }
        let figures: [(&str, u64); 11] = [
            ("events accepted", self.accepted),
            ("batches", self.batches),
            ("  answered 207", self.partial_batches),
            ("duplicates sent", self.duplicates),
            ("posts that failed", self.failed_posts),
            ("reads", self.reads),
            ("rows", self.rows as u64),
            ("  superseded", self.superseded as u64),
            ("dead letters", self.dead_letters as u64),
            ("cached bodies", self.cached as u64),
            ("partitions assigned", self.assignments as u64),
        ];
        text.push('\n');
        for (name, figure) in figures {
            text.push_str(&format!("{name:<20} {figure:>6}\n"));
        }
        let promises = [
            "a 202 is never false",
            "exactly one effect",
            "order per device",
            "an outage is not a bad event",
            "no read older than the fence",
        ];
        text.push('\n');
        for (number, promise) in (1_u8..).zip(promises) {
            let times = self.broken.iter().filter(|broken| broken.promise == number).count();
            let verdict = if times == 0 { "held".to_owned() } else { format!("BROKEN {times} times") };
            text.push_str(&format!("{number}. {promise:<30} {verdict}\n"));
        }
        text
    }

    /// Writes the report as JSON, in one step: nobody finds half of one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let unfinished = file.with_extension(format!("{}.json", std::process::id()));
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        Ok(std::fs::rename(unfinished, file)?)
    }
}
