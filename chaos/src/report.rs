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
    /// Events sent again although they had been.
    pub duplicates: u64,
    /// Posts that failed, or were answered otherwise.
    pub failed_posts: u64,
    /// Reads answered.
    pub reads: u64,
    /// Rows in `events`.
    pub rows: usize,
    /// Of these, rows that came behind a newer state.
    pub superseded: usize,
    /// Dead letters.
    pub dead_letters: usize,
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
        let figures: [(&str, u64); 8] = [
            ("events accepted", self.accepted),
            ("duplicates sent", self.duplicates),
            ("posts that failed", self.failed_posts),
            ("reads", self.reads),
            ("rows", self.rows as u64),
            ("  superseded", self.superseded as u64),
            ("dead letters", self.dead_letters as u64),
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

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(file, serde_json::to_vec_pretty(self)?)?)
    }
}
