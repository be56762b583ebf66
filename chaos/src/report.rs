//! The outcome of a run: a table for people, and `report.json` for machines.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::checker::Broken;
use crate::plan::{Fault, Step};

/// The five, in a few words each.
const PROMISES: [&str; 5] = [
    "a 202 is never false",
    "exactly one effect",
    "order per device",
    "an outage is not a bad event",
    "no read older than the fence",
];

/// Everything about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the schedule was made from.
    pub seed: u64,
    /// The length, in seconds.
    pub seconds: u64,
    /// Whether a disk was really full, and not a trigger said so.
    pub real_disk: bool,
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
    pub reads: usize,
    /// Of these, reads that had to see all that was fenced when they began.
    pub strict_reads: usize,
    /// And reads that had to see only what was fenced before Redis was away from a worker.
    pub excused_reads: usize,
    /// Records of the input topic, duplicates and poison included.
    pub records: usize,
    /// Rows in `events`.
    pub rows: usize,
    /// Of these, rows that came behind a newer state.
    pub superseded: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Of these, events that PostgreSQL refused for too long; the others are no events.
    pub refused_letters: usize,
    /// Bodies in the cache at the end, each compared with its row.
    pub cached: usize,
    /// Partitions assigned, over all workers.
    pub assignments: usize,
    /// Services that ended by themselves, and were started again.
    pub ended: Vec<String>,
    /// Panics that the services wrote down.
    pub panics: Vec<String>,
    /// Promises broken.
    pub broken: Vec<Broken>,
}

impl Report {
    /// Whether every promise held, and no service panicked or ended by itself.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.ended.is_empty() && self.panics.is_empty()
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut kinds: BTreeMap<Fault, (usize, Duration)> = BTreeMap::new();
        for step in &self.faults {
            let (times, lasted) = kinds.entry(step.fault).or_default();
            *times += 1;
            *lasted += step.lasts;
        }
        let mut text = format!("\n{:<22}{:>7}{:>10}\n", "fault", "times", "seconds");
        for (kind, (times, lasted)) in kinds {
            // Killing and starting again takes what it takes.
            let seconds = if kind.lasts() { format!("{:.1}", lasted.as_secs_f64()) } else { "-".to_owned() };
            let note = if kind == Fault::FillDisk && !self.real_disk { "  (by a trigger: may not mount)" } else { "" };
            text.push_str(&format!("{:<22}{times:>7}{seconds:>10}{note}\n", kind.name()));
        }
        text.push_str(&format!("{:<22}{:>7}\n\n", "all", self.faults.len()));
        for (name, figure) in self.figures() {
            text.push_str(&format!("{name:<22}{figure:>7}\n"));
        }
        text.push('\n');
        for (number, promise) in (1_u8..).zip(PROMISES) {
            let times = self.broken.iter().filter(|broken| broken.promise == number).count();
            let verdict = if times == 0 { "held".to_owned() } else { format!("BROKEN, {times} times") };
            text.push_str(&format!("{number}. {promise:<31}{verdict}\n"));
        }
        text
    }

    fn figures(&self) -> [(&'static str, u64); 17] {
        [
            ("events accepted", self.accepted),
            ("  duplicates sent", self.duplicates),
            ("posts of batches", self.batches),
            ("  answered 207", self.partial_batches),
            ("posts that failed", self.failed_posts),
            ("records in the log", self.records as u64),
            ("rows", self.rows as u64),
            ("  superseded", self.superseded as u64),
            ("dead letters", self.dead_letters as u64),
            ("  of refused devices", self.refused_letters as u64),
            ("partitions assigned", self.assignments as u64),
            ("ended by themselves", self.ended.len() as u64),
            ("panics", self.panics.len() as u64),
            ("reads", self.reads as u64),
            ("  judged strictly", self.strict_reads as u64),
            ("  excused", self.excused_reads as u64),
            ("cached bodies at last", self.cached as u64),
        ]
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
