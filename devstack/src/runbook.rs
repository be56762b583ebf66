//! The worker's faults from the table in `docs/operations.md`, for comparison with the output of a faulty worker.
//!
//! The table is authoritative: a test that causes a fault waits until the worker reports everything in the fault's row.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::said::{logged, values};

const HEADER: &str = "| fault of the worker | log | metrics | `/health/ready` | log, when it is over |";

#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) name: String,
    log: Vec<Line>,
    metrics: Vec<Metric>,
    /// The HTTP status of the readiness report and its field `status`.
    ready: (u16, String),
    /// Further fields of the readiness report, of the worker or of one of its partitions.
    fields: Vec<String>,
    end: Vec<Line>,
}

/// The beginning of a log message, and the value of one of its fields.
#[derive(Debug, PartialEq)]
struct Line {
    message: String,
    text: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Metric {
    /// A metric with labels, or just a name that matches any labels.
    series: String,
    wanted: Wanted,
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Value(f64),
    AboveZero,
}

/// A worker's log, metrics and readiness.
#[derive(Debug, Clone)]
pub struct Report {
    pub log: String,
    pub metrics: String,
    /// HTTP status and body of the readiness report.
    pub ready: (u16, Value),
}

impl Fault {
    pub(crate) fn all() -> anyhow::Result<Vec<Fault>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        rows(&text)
    }

    pub(crate) fn named(name: &str) -> anyhow::Result<Fault> {
        let found = Self::all()?.into_iter().find(|fault| fault.name == name);
        found.with_context(|| format!("docs/operations.md tells of no fault {name:?}"))
    }

    /// The items of the row that the worker does not report during the fault.
    pub(crate) fn unsaid(&self, said: &Report) -> Vec<String> {
        let metrics = self.metrics.iter().filter(|metric| !metric.is_in(&said.metrics));
        let metrics = metrics.map(|metric| format!("metrics: {metric:?}"));
        let fields = self.fields.iter().filter(|field| !has_field(&said.ready.1, field));
        let fields = fields.map(|field| format!("readiness: no {field}"));
        unsaid(&self.log, (self.ready.0, &self.ready.1), said).chain(metrics).chain(fields).collect()
    }

    /// The items that it does not report yet, or still reports, after the fault.
    pub(crate) fn unsaid_of_end(&self, said: &Report) -> Vec<String> {
        let metrics = self.metrics.iter().filter(|metric| metric.is_gauge_of_fault() && metric.is_in(&said.metrics));
        let metrics = metrics.map(|metric| format!("metrics, still: {metric:?}"));
        let fields = self.fields.iter().filter(|field| has_field(&said.ready.1, field));
        let fields = fields.map(|field| format!("readiness, still: {field}"));
        unsaid(&self.end, (200, "ready"), said).chain(metrics).chain(fields).collect()
    }
}

/// The lines that are missing in the log, and the readiness if it differs.
fn unsaid(lines: &[Line], wanted: (u16, &str), said: &Report) -> impl Iterator<Item = String> {
    let lines = lines.iter().filter(|line| !line.is_in(&said.log)).map(|line| format!("log: {line:?}"));
    let (status, body) = &said.ready;
    let ready = (*status, body["status"].as_str().unwrap_or_default());
    lines.chain((ready != wanted).then(|| format!("readiness: {wanted:?}, not {ready:?}")))
}

impl Line {
    fn is_in(&self, log: &str) -> bool {
        logged(log, &self.message, self.text.as_deref().unwrap_or_default()).next().is_some()
    }
}

impl Metric {
    fn is_in(&self, page: &str) -> bool {
        values(page, &self.series).any(|value| match self.wanted {
            Wanted::Value(wanted) => value == wanted,
            Wanted::AboveZero => value > 0.0,
        })
    }

    fn is_gauge_of_fault(&self) -> bool {
        let name = self.series.split('{').next().unwrap_or_default();
        !name.ends_with("_total") && self.wanted != Wanted::Value(0.0)
    }
}

/// Whether this field of the worker, or of a partition of one of its groups, is set.
fn has_field(ready: &Value, field: &str) -> bool {
    let is_something = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let groups = ready["groups"].as_object().into_iter().flat_map(serde_json::Map::values);
    let mut partitions = groups.filter_map(|group| group["partitions"].as_object()).flat_map(serde_json::Map::values);
    is_something(&ready[field]) || partitions.any(|partition| is_something(&partition[field]))
}

fn rows(text: &str) -> anyhow::Result<Vec<Fault>> {
    let (_, table) = text.split_once(HEADER).with_context(|| format!("docs/operations.md has no table {HEADER}"))?;
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = lines.map(|line| row(line).with_context(|| line.to_owned())).collect::<Result<_, _>>()?;
    ensure!(!rows.is_empty(), "the table of the worker's faults is empty");
    Ok(rows)
}

fn row(line: &str) -> anyhow::Result<Fault> {
    let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [name, log, metrics, ready, end] = cells[..] else { bail!("{} columns, not 5", cells.len()) };
    let mut codes = codes(ready)?.into_iter();
    let (code, _) = codes.next().context("nothing of the readiness")?;
    let (status, says) = code.split_once(' ').context("no status of the readiness")?;
    Ok(Fault {
        name: name.to_owned(),
        log: messages(log)?,
        metrics: codes_of_metrics(metrics)?,
        ready: (status.parse()?, says.to_owned()),
        fields: codes.map(|(code, _)| code.to_owned()).collect(),
        end: messages(end)?,
    })
}

/// Each `code` of a cell and the text after it; empty if the cell is only a dash.
fn codes(cell: &str) -> anyhow::Result<Vec<(&str, &str)>> {
    if cell == "–" {
        return Ok(Vec::new());
    }
    let mut pieces = cell.split('`');
    ensure!(pieces.next() == Some(""), "{cell:?} begins with no code");
    let mut found = Vec::new();
    while let Some(code) = pieces.next() {
        found.push((code, pieces.next().with_context(|| format!("{cell:?} has a code without an end"))?));
    }
    Ok(found)
}

fn messages(cell: &str) -> anyhow::Result<Vec<Line>> {
    let (mut lines, mut codes) = (Vec::new(), codes(cell)?.into_iter());
    while let Some((message, behind)) = codes.next() {
        let (text, behind) = match behind {
            " with " => codes.next().map(|(text, behind)| (Some(text.to_owned()), behind)).unwrap_or((None, behind)),
            behind => (None, behind),
        };
        ensure!(["", ", "].contains(&behind), "{behind:?} stands behind a message");
        lines.push(Line { message: message.to_owned(), text });
    }
    Ok(lines)
}

fn codes_of_metrics(cell: &str) -> anyhow::Result<Vec<Metric>> {
    let metric = |(series, behind): (&str, &str)| {
        let wanted = match behind.trim().trim_end_matches(',') {
            "above 0" => Wanted::AboveZero,
            value => Wanted::Value(value.parse().with_context(|| format!("{series} has the value {value:?}"))?),
        };
        Ok(Metric { series: series.to_owned(), wanted })
    };
    codes(cell)?.into_iter().map(metric).collect()
}

#[cfg(test)]
mod quoted;
#[cfg(test)]
mod tests;
