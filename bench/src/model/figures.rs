//! The figures that the model computes with: `bench/figures.json`, which a report of the bench renews.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::number;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) what: String,
    #[serde(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// How, where and when it was measured.
    Measured(String),
    /// The words of `docs/performance.md` or `docs/operations.md` that have it.
    Quoted(String),
}

macro_rules! figures {
    ($($name:ident)*) => {
        /// Processor times (`µs`) are of one core; rates are of both cores of the machine, with everything on them.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Figures {
            $(pub(crate) $name: Figure,)*
        }

        impl Figures {
            pub(crate) fn all(&self) -> Vec<(&'static str, &Figure)> {
                vec![$((stringify!($name), &self.$name),)*]
            }

            fn named(&mut self, name: &str) -> Option<&mut Figure> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

figures! {
    post_api post_rate paced_api batch_api read_api read_rate
    post_kafka drained_kafka
    drained_worker drained_postgres drained_redis paced_worker paced_postgres paced_redis
    partition_rate rate_10k rate_1m rate_10m wal_10k wal_1m wal_10m
    rows_a_minute indexes_a_minute expired_beside expired_alone
    impression_api impression_librdkafka impression_kafka impression_redis impression_postgres
    cap_two cap_ten
}

/// The load of the row `visible`, in events a second, and how many turns it takes.
const PACED_RATE: f64 = 1_000.0;
const PACED_TURNS: f64 = 3.0;

/// What is read of a report.
#[derive(Deserialize)]
struct Report {
    machine: String,
    scale: Scale,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Scale {
    seconds: f64,
    worker_events: f64,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    figure: Rounds,
    usages: Vec<Usage>,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Rounds {
    /// `None` if it was no number.
    rounds: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct Usage {
    name: String,
    cpu_seconds: f64,
}

impl Row {
    /// The last round, which the usages are of.
    fn last(&self) -> Option<f64> {
        self.figure.rounds.last().copied().flatten()
    }

    /// The processor time of a process for one of so many events, in µs.
    fn micros(&self, process: &str, events: f64) -> Option<f64> {
        let usage = self.usages.iter().find(|usage| usage.name == process)?;
        Some(usage.cpu_seconds / events * 1e6)
    }

    fn wal(&self) -> Option<f64> {
        let note = self.notes.iter().find_map(|note| Some(note.split_once(" bytes of WAL an event")?.0))?;
        note.replace(',', "").parse().ok()
    }
}

impl Figures {
    pub(crate) fn committed() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("../../figures.json")).context("bench/figures.json")
    }

    pub(crate) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Takes the figures that a report of the bench has; the others stay. Returns the names of those taken.
    pub(crate) fn renew(&mut self, report: Value, day: &str) -> anyhow::Result<Vec<&'static str>> {
        let Report { machine, scale, rows } = serde_json::from_value(report).context("it is no report of the bench")?;
        let mut taken = Vec::new();
        for (name, row, value) in READ {
            let found = rows.iter().find(|found| found.name == row).and_then(|found| value(found, &scale));
            let Some(value) = found.filter(|value| value.is_finite() && *value > 0.0) else { continue };
            let Some(figure) = self.named(name) else { continue };
            let digits = if value < 100.0 { 10.0 } else { 1.0 };
            figure.value = (value * digits).round() / digits;
            figure.source = Source::Measured(format!("`make bench`, {row}, {machine}, {day}"));
            taken.push(name);
        }
        Ok(taken)
    }

    /// The table of `docs/performance.md`.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| figure | value | of what | from |\n|---|---|---|---|\n");
        for (name, Figure { value, unit, what, source }) in self.all() {
            let from = match source {
                Source::Measured(how) => how.clone(),
                Source::Quoted(words) => format!("\"{}\"", words.replace('`', "")),
            };
            let value = if *value < 100.0 { value.to_string() } else { number(*value) };
            let _ = writeln!(text, "| `{name}` | {value} {unit} | {what} | {from} |");
        }
        text
    }
}

type Read = fn(&Row, &Scale) -> Option<f64>;

/// Which figure a report has in which row.
const READ: [(&str, &str, Read); 22] = [
    ("post_api", POST, |row, scale| row.micros("api-service", row.last()? * scale.seconds)),
    ("post_rate", POST, |row, _| row.last()),
    ("post_kafka", POST, |row, scale| row.micros("kafka", row.last()? * scale.seconds)),
    ("batch_api", "POST /events/batch", |row, scale| row.micros("api-service", row.last()? * scale.seconds)),
    ("read_api", READS, |row, scale| row.micros("api-service", row.last()? * scale.seconds)),
    ("read_rate", READS, |row, _| row.last()),
    ("paced_api", PACED, |row, scale| row.micros("api-service", paced(scale))),
    ("paced_worker", PACED, |row, scale| row.micros("worker-service", paced(scale))),
    ("paced_postgres", PACED, |row, scale| row.micros("postgresql", paced(scale))),
    ("paced_redis", PACED, |row, scale| row.micros("redis", paced(scale))),
    ("drained_kafka", DRAINED, |row, scale| row.micros("kafka", scale.worker_events)),
    ("drained_worker", DRAINED, |row, scale| row.micros("worker-service", scale.worker_events)),
    ("drained_postgres", DRAINED, |row, scale| row.micros("postgresql", scale.worker_events)),
    ("drained_redis", DRAINED, |row, scale| row.micros("redis", scale.worker_events)),
    ("partition_rate", "drain of one partition", |row, _| row.last()),
    ("rate_10k", "worker, 10,000 resources", |row, _| row.last()),
    ("rate_1m", "worker, 1,000,000 resources", |row, _| row.last()),
    ("rate_10m", "worker, 10,000,000 resources", |row, _| row.last()),
    ("wal_10k", "worker, 10,000 resources", |row, _| row.wal()),
    ("wal_1m", "worker, 1,000,000 resources", |row, _| row.wal()),
    ("wal_10m", "worker, 10,000,000 resources", |row, _| row.wal()),
    ("impression_postgres", "worker, ads preloaded", |row, scale| row.micros("postgresql", scale.worker_events)),
];

const POST: &str = "POST /events";
const READS: &str = "GET /resource/{id}, hit";
const PACED: &str = "accepted to visible, p99";
const DRAINED: &str = "worker, topic preloaded";

fn paced(scale: &Scale) -> f64 {
    PACED_RATE * PACED_TURNS * scale.seconds
}
