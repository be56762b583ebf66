//! The rows of the table: what is measured, and how.

mod ads;
mod api_growth;
mod backlog;
mod batch;
mod commands;
mod expire;
mod peers;
mod pooler;
mod post;
mod read;
mod resources;
pub(crate) mod visible;
pub(crate) mod worker;

use std::time::Duration;

use clap::ValueEnum;

use crate::Scale;
use crate::bed::{Api, Bare, TestBed};
use crate::load::{Load, Outcome};
use crate::report::Figure;
use crate::rounds::Series;
use crate::usage::{Meter, Usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// `POST /events` against bare axum.
    Post,
    /// `POST /events/batch` against a bare producer.
    Batch,
    /// `GET /resource/{id}`, a hit, against axum with one GET.
    Read,
    /// The worker against its own statements.
    Worker,
    /// From accepted to visible, at a thousand events a second.
    Visible,
    /// The same while another partition drains.
    Backlog,
    /// The API with more connections, more devices and larger payloads.
    Api,
    /// The worker with more resources; some minutes more.
    Growth,
    /// Expiry beside an ingest; some minutes more.
    Expire,
    /// Advertising, each figure beside the same of devices.
    Ads,
    /// Commands: their rate, their events on the way to the topic and to subscribers, the relay; some minutes.
    Commands,
    /// The services beside the same in Python, and Kafka Connect with Debezium's JDBC sink; ten minutes.
    Peers,
    /// The worker behind a pooler of transactions (PgBouncer), against the worker without one.
    Pooler,
}

impl Row {
    /// The rows that together take at most ten minutes.
    pub(crate) const IN_TEN_MINUTES: [Self; 7] =
        [Self::Post, Self::Batch, Self::Read, Self::Worker, Self::Visible, Self::Backlog, Self::Api];

    /// The row's text in `--help`.
    pub(crate) fn what(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    pub(crate) fn measure(self) -> fn(&TestBed, &Scale) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Post => post::measure,
            Self::Batch => batch::measure,
            Self::Read => read::measure,
            Self::Worker => worker::measure,
            Self::Visible => visible::measure,
            Self::Backlog => backlog::measure,
            Self::Api => api_growth::measure,
            Self::Growth => resources::measure,
            Self::Expire => expire::measure,
            Self::Pooler => pooler::measure,
            Self::Ads => ads::measure,
            Self::Peers => peers::measure,
            Self::Commands => commands::measure,
        }
    }
}

/// Loads the API as fast as it answers, and measures the usage of every process.
fn saturate(bed: &TestBed, api: &Api, load: &Load<'_>, time: Duration) -> anyhow::Result<(Outcome, Vec<Usage>)> {
    let meters = bed.meters(&[&api.service]);
    let outcome = load.saturate(time)?;
    let mut usages: Vec<_> = meters.iter().map(Meter::read).collect();
    usages.push(outcome.usage.clone());
    Ok((outcome, usages))
}

/// Measures the API and two bare servers under the same saturating load; then the API's latency at a rate below
/// saturation.
fn beside<'a>(
    bed: &TestBed,
    scale: &Scale,
    name: &str,
    api: &'a Api,
    [one, other]: [(&str, &'a Bare); 2],
    load: impl Fn(&'a str) -> Load<'a>,
    rate: u32,
) -> anyhow::Result<(Figure, [Series; 2])> {
    let mut last = None;
    let [figure, first, second] = take_turns(scale.rounds, ["api", one.0, other.0], |turn| match turn {
        0 => {
            let (outcome, usages) = saturate(bed, api, &load(&api.url), scale.turn())?;
            last = Some((outcome.latency, usages));
            Ok(outcome.rate)
        }
        1 => Ok(load(&one.1.url).saturate(scale.turn())?.rate),
        _ => Ok(load(&other.1.url).saturate(scale.turn())?.rate),
    })?;
    let open = Load { connections: 64, ..load(&api.url) }.at_rate(rate, scale.turn())?;
    println!("  at {rate} a second: p99 {:.2} ms", open.latency.p99);
    let (saturated, usages) = last.unzip();
    let saturated = saturated.map(|latency| ("saturated (closed loop)".to_owned(), latency));
    let open = (format!("at {rate} requests/s (open loop, corrected)"), open.latency);
    let row = Figure {
        latencies: saturated.into_iter().chain([open]).collect(),
        usages: usages.unwrap_or_default(),
        ..Figure::new(name, "requests/s", figure)
    };
    Ok((row, [first, second]))
}

/// Runs several measurements in turn, identified by their index, and prints the progress. The first is the subject,
/// the others are its ceilings. The first round is a warm-up and does not count.
fn take_turns<const N: usize>(
    rounds: u32,
    names: [&str; N],
    mut turn: impl FnMut(usize) -> anyhow::Result<f64>,
) -> anyhow::Result<[Series; N]> {
    let mut all = [const { Series { rounds: Vec::new() } }; N];
    for round in 0..=rounds {
        let mut line = if round == 0 { "  warming".to_owned() } else { format!("  round {round}/{rounds}") };
        for (place, (name, series)) in names.iter().zip(&mut all).enumerate() {
            let figure = turn(place)?;
            if round > 0 {
                series.push(figure);
            }
            line.push_str(&format!("   {name} {}", crate::report::number(figure)));
        }
        println!("{line}");
    }
    Ok(all)
}
