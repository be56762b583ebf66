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
    pub(crate) bound: Option<Bound>,
    pub(crate) latencies: Vec<(String, Latency)>,
    pub(crate) usages: Vec<Usage>,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    RatioAtLeast(f64),
    Below(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, figure: Series) -> Self {
        Self { name: name.into(), unit, figure, ..Self::default() }
    }

    /// Compares the figure with ceilings; the floor applies to the first.
    pub(crate) fn against(mut self, ceilings: Vec<(&'static str, Series)>, floor: f64) -> Self {
        self.ratio = ceilings.first().map(|(_, first)| self.figure.over(first));
        self.ceilings = ceilings;
        self.bound = Some(Bound::RatioAtLeast(floor));
        self
    }

    pub(crate) fn holds(&self) -> Option<bool> {
        Some(match self.bound? {
            Bound::RatioAtLeast(floor) => self.ratio.as_ref()?.median() >= floor,
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
            "{:<34} {:>12} {:>21}  {:>12}  {:>17} {:>6}\n",
            "", "figure", "spread", "ceiling", "ratio", "floor"
        ));
        let spread = |series: &Series| format!("{} - {}", number(series.min()), number(series.max()));
        for row in &self.rows {
            let ratio = row.ratio.as_ref().map_or_else(String::new, |ratio| {
                format!("{:.2} ({:.2}-{:.2})", ratio.median(), ratio.min(), ratio.max())
            });
            let bound = match row.bound {
                Some(Bound::RatioAtLeast(floor)) => format!("{floor:.2}"),
                Some(Bound::Below(limit)) => format!("< {limit}"),
                None => String::new(),
            };
            let verdict = match row.holds() {
                Some(true) => "holds",
                Some(false) => "BELOW",
                None => "",
            };
            let ceiling = row.ceilings.first().map_or_else(String::new, |(_, ceiling)| number(ceiling.median()));
            let of_figure = if row.figure.rounds.len() > 1 { spread(&row.figure) } else { String::new() };
            text.push_str(&format!(
                "{:<34} {:>12} {of_figure:>21}  {ceiling:>12}  {ratio:>17} {bound:>6} {verdict}\n",
                format!("{}, {}", row.name, row.unit),
                number(row.figure.median()),
            ));
            for (name, ceiling) in &row.ceilings {
                text.push_str(&format!("    ceiling: {name}: {} ({})\n", number(ceiling.median()), spread(ceiling)));
            }
            for (name, Latency { p50, p99, p999 }) in &row.latencies {
                text.push_str(&format!("    {name}: p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms\n"));
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
        assert_eq!(figure(5.0).holds(), None);
        assert_eq!(figure(5.0).against(vec![("c", series(10.0))], 0.5).holds(), Some(true));
        assert_eq!(figure(4.9).against(vec![("c", series(10.0))], 0.5).holds(), Some(false));
        let below = |value| Figure { bound: Some(Bound::Below(50.0)), ..figure(value) };
        assert_eq!(below(49.9).holds(), Some(true));
        assert_eq!(below(50.0).holds(), Some(false));
    }
}
