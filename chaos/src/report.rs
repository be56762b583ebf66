//! The outcome of a run: a table for people, and `report.json` for machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::checker::Broken;
use crate::faults::Happened;
use crate::figures::Figures;
use crate::least;
use crate::plan::{Fault, Plan, Step};

const PROMISES: [&str; 10] = [
    "a 202 is never false",
    "exactly one effect",
    "order per device",
    "an outage is not a bad event",
    "no read older than the fence",
    "budgets and caps",
    "a command and its events",
    "no gap, no inversion",
    "each subscriber once",
    "files and validations",
];

#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: f64,
    /// Whether a real disk was full; otherwise a trigger raised the error.
    pub real_disk: bool,
    /// The schedule, which depends only on the seed and the length.
    pub planned: Vec<Step>,
    pub happened: Vec<Happened>,
    #[serde(flatten)]
    pub figures: Figures,
    pub least: Figures,
    /// Faults and figures below the minimum: with any of them the run is void.
    pub fell_short: Vec<String>,
    /// Services that ended by themselves and were restarted.
    pub ended: Vec<String>,
    /// Panics in the services' logs.
    pub panics: Vec<String>,
    pub broken: Vec<Broken>,
}

impl Report {
    /// Whether every promise held, no service panicked or ended by itself, and the run is not void.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.ended.is_empty() && self.panics.is_empty() && self.fell_short.is_empty()
    }

    pub fn table(&self, plan: &Plan) -> String {
        let mut text = self.faults(&least::faults(plan));
        text.push_str(&format!("{:<26}{:>7}{:>10}\n", "count", "", "at least"));
        for ((name, count), (_, least)) in self.figures.rows().into_iter().zip(self.least.rows()) {
            let at_least = if least == 0 { "-".to_owned() } else { least.to_string() };
            let short = if count < least { "  TOO FEW" } else { "" };
            text.push_str(&format!("{name:<26}{count:>7}{at_least:>10}{short}\n"));
        }
        for (name, lines) in [("ended by themselves", &self.ended), ("panics", &self.panics)] {
            text.push_str(&format!("{name:<26}{:>7}\n", lines.len()));
        }
        text.push('\n');
        for (number, promise) in (1_u8..).zip(PROMISES) {
            let broken = self.broken.iter().filter(|broken| broken.promise == number);
            let parts: BTreeSet<_> = broken.clone().filter_map(|broken| broken.part).map(String::from).collect();
            let parts: Vec<_> = parts.into_iter().collect();
            let times = broken.count();
            let verdict = match times {
                0 if self.fell_short.is_empty() => "held".to_owned(),
                0 => "not broken, in a run that is VOID".to_owned(),
                _ if parts.is_empty() => format!("BROKEN, {times} times"),
                _ => format!("BROKEN, {times} times: {}", parts.join(", ")),
            };
            text.push_str(&format!("{number:>2}. {promise:<31}{verdict}\n"));
        }
        if !self.fell_short.is_empty() {
            text.push_str("\nVOID: the run tried too little for this to say anything\n");
            for short in &self.fell_short {
                text.push_str(&format!("  {short}\n"));
            }
        }
        text
    }

    fn faults(&self, least: &BTreeMap<Fault, usize>) -> String {
        let mut text = format!("\n{:<26}{:>7}{:>10}{:>10}\n", "fault", "times", "at least", "seconds");
        for kind in Fault::all() {
            let of_kind = self.happened.iter().filter(|happened| happened.step.fault == kind);
            let done: Vec<_> = of_kind.filter(|happened| happened.missed.is_none()).collect();
            let (times, least) = (done.len(), least.get(&kind).copied().unwrap_or_default());
            if times == 0 && least == 0 {
                continue;
            }
            // An instantaneous fault, such as a kill, has no meaningful duration.
            let lasted: Duration = done.iter().map(|happened| happened.step.lasts).sum();
            let seconds = if kind.lasts() { format!("{:.1}", lasted.as_secs_f64()) } else { "-".to_owned() };
            let short = if times < least { "  TOO FEW" } else { "" };
            let note = if kind == Fault::FillDisk && !self.real_disk { "  (by a trigger: may not mount)" } else { "" };
            text.push_str(&format!("{:<26}{times:>7}{least:>10}{seconds:>10}{short}{note}\n", kind.name()));
        }
        text.push('\n');
        text
    }

    /// Writes the report as JSON, atomically: a reader never sees an incomplete file.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let unfinished = file.with_extension(format!("{}.json", std::process::id()));
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        Ok(std::fs::rename(unfinished, file)?)
    }
}
