//! The results: a table for people, and `report.json` for machines.

use std::path::Path;

use serde::Serialize;

use crate::Scale;
use crate::bed::TestBed;
use crate::load::Latency;
use crate::rounds::Series;
use crate::usage::{self, Usage};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) settings: Vec<String>,
    pub(crate) scale: Scale,
    pub(crate) seconds: u64,
    pub(crate) rows: Vec<Figure>,
}

#[derive(Debug, Serialize, Default)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) figure: Series,
    pub(crate) ceilings: Vec<(&'static str, Series)>,
    /// The ratio to the first ceiling, round by round.
    pub(crate) ratio: Option<Series>,
    /// The floor.
    pub(crate) bound: Option<Bound>,
    /// Where the figure is to go, in the terms of the floor.
    pub(crate) goal: Option<f64>,
    pub(crate) latencies: Vec<(String, Latency)>,
    pub(crate) usages: Vec<Usage>,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    Below(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, figure: Series) -> Self {
        Self { name: name.into(), unit, figure, ..Self::default() }
    }

    /// Compares the figure with ceilings; the ratio is that to the first.
    pub(crate) fn beside(mut self, ceilings: Vec<(&'static str, Series)>) -> Self {
        self.ratio = ceilings.first().map(|(_, first)| self.figure.over(first));
        self.ceilings = ceilings;
        self
    }

    /// The same with a floor for that ratio.
    pub(crate) fn against(self, ceilings: Vec<(&'static str, Series)>, floor: f64) -> Self {
        self.beside(ceilings).bound(Bound::RatioAtLeast(floor))
    }

    pub(crate) fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    pub(crate) fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// The most memory that a process had since its start.
    pub(crate) fn memory(what: &str, service: &str, usages: &[Usage], [floor, goal]: [f64; 2]) -> Self {
        let peak = usages.iter().find(|usage| usage.name == service).map_or(f64::NAN, |usage| usage.peak_mib);
        let figure = Self::new(format!("memory of {service}, {what}"), "MiB", Series::once(peak));
        figure.bound(Bound::Below(floor)).goal(goal)
    }

    pub(crate) fn holds(&self) -> Option<bool> {
        self.meets(self.bound?)
    }

    /// Whether the goal is reached.
    pub(crate) fn reaches(&self) -> Option<bool> {
        let goal = self.goal?;
        self.meets(match self.bound? {
            Bound::RatioAtLeast(_) => Bound::RatioAtLeast(goal),
            Bound::RatioAtMost(_) => Bound::RatioAtMost(goal),
            Bound::Below(_) => Bound::Below(goal),
        })
    }

    /// The floor and the goal in the table.
    fn limits(&self) -> [String; 2] {
        let shown = |limit: f64| match self.bound {
            Some(Bound::RatioAtLeast(_)) => format!("{limit:.2}"),
            Some(Bound::RatioAtMost(_)) => format!("<= {limit}"),
            Some(Bound::Below(_)) => format!("< {limit}"),
            None => String::new(),
        };
        let floor =
            self.bound.map(|(Bound::RatioAtLeast(limit) | Bound::RatioAtMost(limit) | Bound::Below(limit))| limit);
        [floor, self.goal].map(|limit| limit.map(shown).unwrap_or_default())
    }

    fn meets(&self, bound: Bound) -> Option<bool> {
        Some(match bound {
            Bound::RatioAtLeast(least) => self.ratio.as_ref()?.median() >= least,
            Bound::RatioAtMost(most) => self.ratio.as_ref()?.median() <= most,
            Bound::Below(limit) => self.figure.median() < limit,
        })
    }
}

impl Report {
    pub(crate) fn new(bed: &TestBed, scale: Scale) -> anyhow::Result<Self> {
        let ask = |name: &str| devstack::psql(&bed.stack.postgres.url(), &format!("SHOW {name}"));
        let mut settings = vec![
            format!("PostgreSQL {}", ask("server_version")?),
            format!("DEVSTACK_JAVA_OPTS={}", std::env::var("DEVSTACK_JAVA_OPTS").unwrap_or_default()),
        ];
        for name in ["shared_buffers", "max_wal_size", "wal_compression", "fsync", "synchronous_commit"] {
            settings.push(format!("{name}={}", ask(name)?));
        }
        Ok(Self { machine: usage::machine(), settings, scale, seconds: 0, rows: Vec::new() })
    }

    pub(crate) fn below(&self) -> Vec<&Figure> {
        self.rows.iter().filter(|row| row.holds() == Some(false)).collect()
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{}\n{}\n\n", self.machine, self.settings.join(", "));
        text.push_str(&format!(
            "{:<44} {:>12} {:>21}  {:>12}  {:>17} {:>7} {:>7}\n",
            "", "figure", "spread", "ceiling", "ratio", "floor", "goal"
        ));
        let spread = |series: &Series| format!("{} - {}", number(series.min()), number(series.max()));
        for row in &self.rows {
            let ratio = row.ratio.as_ref().map_or_else(String::new, |ratio| {
                format!("{:.2} ({:.2}-{:.2})", ratio.median(), ratio.min(), ratio.max())
            });
            let [floor, goal] = row.limits();
            let verdict = match (row.holds(), row.reaches()) {
                (Some(false), _) => "BELOW",
                (Some(true), Some(true)) => "reached",
                (Some(true), _) => "holds",
                (None, _) => "",
            };
            let ceiling = row.ceilings.first().map_or_else(String::new, |(_, ceiling)| number(ceiling.median()));
            let of_figure = if row.figure.rounds.len() > 1 { spread(&row.figure) } else { String::new() };
            text.push_str(&format!(
                "{:<44} {:>12} {of_figure:>21}  {ceiling:>12}  {ratio:>17} {floor:>7} {goal:>7} {verdict}\n",
                format!("{}, {}", row.name, row.unit),
                number(row.figure.median()),
            ));
            if let Some(load) = row.figure.load() {
                text.push_str(&format!("    the load generator took {load:.2} of a core\n"));
            }
            for (name, ceiling) in &row.ceilings {
                let load = ceiling.load().map_or_else(String::new, |load| format!("; load {load:.2} of a core"));
                let (median, spread) = (number(ceiling.median()), spread(ceiling));
                text.push_str(&format!("    ceiling: {name}: {median} ({spread}){load}\n"));
            }
            for (name, Latency { samples, p50, p99, p999 }) in &row.latencies {
                text.push_str(&format!(
                    "    {name}: p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms (of {samples})\n"
                ));
            }
            if !row.usages.is_empty() {
                let usages = row.usages.iter().map(|usage| {
                    let memory = match usage.peak_mib {
                        0.0 => String::new(),
                        peak => format!(" {:.0} MiB (peak {peak:.0})", usage.resident_mib),
                    };
                    format!("{} {:.1} s{memory}", usage.name, usage.cpu_seconds)
                });
                text.push_str(&format!("    processor and memory: {}\n", usages.collect::<Vec<_>>().join(", ")));
            }
            for note in &row.notes {
                text.push_str(&format!("    {note}\n"));
            }
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

pub(crate) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(1234567.8), "1,234,568");
        assert_eq!(number(999.9), "1,000");
        assert_eq!(number(0.123), "0.12");
    }

    #[test]
    fn what_has_to_hold() {
        let series = Series::once;
        let figure = |figure| Figure::new("", "", series(figure));
        let ten = || vec![("c", series(10.0))];
        assert_eq!(figure(5.0).holds(), None);
        assert_eq!(figure(5.0).beside(ten()).holds(), None);
        assert_eq!(figure(5.0).against(ten(), 0.5).holds(), Some(true));
        assert_eq!(figure(4.9).against(ten(), 0.5).holds(), Some(false));
        assert_eq!(figure(25.0).beside(ten()).bound(Bound::RatioAtMost(2.5)).holds(), Some(true));
        assert_eq!(figure(25.1).beside(ten()).bound(Bound::RatioAtMost(2.5)).holds(), Some(false));
        assert_eq!(figure(49.9).bound(Bound::Below(50.0)).holds(), Some(true));
        assert_eq!(figure(50.0).bound(Bound::Below(50.0)).holds(), Some(false));
    }

    #[test]
    fn a_goal_is_compared_as_its_floor_is() {
        let figure = |figure| Figure::new("", "", Series::once(figure));
        let ten = || vec![("c", Series::once(10.0))];
        let at_least = |value| figure(value).against(ten(), 1.0).goal(1.25);
        assert_eq!([at_least(12.4).reaches(), at_least(12.5).reaches()], [Some(false), Some(true)]);
        let at_most = |value| figure(value).beside(ten()).bound(Bound::RatioAtMost(2.5)).goal(1.5);
        assert_eq!([at_most(15.1).reaches(), at_most(15.0).reaches()], [Some(false), Some(true)]);
        let below = |value| figure(value).bound(Bound::Below(48.0)).goal(32.0);
        assert_eq!([below(32.0).reaches(), below(31.9).reaches()], [Some(false), Some(true)]);
        assert_eq!(
            [at_least(1.0).limits(), at_most(1.0).limits(), below(1.0).limits()],
            [["1.00", "1.25"], ["<= 2.5", "<= 1.5"], ["< 48", "< 32"]]
        );
        assert_eq!((figure(1.0).goal(2.0).reaches(), figure(1.0).against(ten(), 1.0).reaches()), (None, None));
    }

    #[test]
    fn the_memory_is_the_services_own() {
        let usage =
            |name: &str, peak_mib| Usage { name: name.to_owned(), cpu_seconds: 1.0, resident_mib: 5.0, peak_mib };
        let usages = [usage("kafka", 900.0), usage("worker-service", 47.0)];
        let memory = |service| Figure::memory("idle", service, &usages, [48.0, 32.0]);
        assert_eq!(memory("worker-service").figure.rounds, [47.0]);
        assert_eq!([memory("worker-service").holds(), memory("worker-service").reaches()], [Some(true), Some(false)]);
        assert_eq!(memory("api-service").holds(), Some(false), "a figure that is missing holds nothing");
    }

    #[test]
    fn the_table_has_floors_goals_samples_and_the_load() {
        let mut figure = Series::default();
        figure.push(crate::rounds::Turn { figure: 12.0, load: Some(0.31) });
        let latency = Latency { samples: 10_000, p50: 1.0, p99: 2.0, p999: 3.0 };
        let row = Figure { latencies: vec![("open".to_owned(), latency)], ..Figure::new("POST", "requests/s", figure) };
        let report = Report {
            machine: "a machine".to_owned(),
            settings: Vec::new(),
            scale: Scale { rounds: 1, seconds: 1, worker_events: 1, backlog: 1, expire_rows: 1 },
            seconds: 1,
            rows: vec![row.against(vec![("bare", Series::once(10.0))], 1.0).goal(1.25)],
        };
        let table = report.table();
        let line = table.lines().find(|line| line.starts_with("POST, requests/s")).unwrap();
        assert!(line.ends_with("1.20 (1.20-1.20)    1.00    1.25 holds"), "{line}");
        assert!(table.contains("the load generator took 0.31 of a core"), "{table}");
        assert!(table.contains("p99.9 3.00 ms (of 10000)"), "{table}");
    }
}
