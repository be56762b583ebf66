//! The rows of the table: what is measured, and how.

mod ads;
mod api_growth;
mod backlog;
mod batch;
mod commands;
mod expire;
mod lone;
mod peers;
mod pooler;
mod post;
mod read;
mod resources;
mod start;
mod states;
mod tokens;
pub(crate) mod visible;
pub(crate) mod worker;

use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::Scale;
use crate::bed::{Api, TestBed};
use crate::load::{Load, Outcome, long_enough};
use crate::report::{Figure, number};
use crate::rounds::{Series, Turn, order};
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
    /// A lone `POST /events`, against the broker's acknowledgement.
    Lone,
    /// From process to ready.
    Start,
    /// The API with more connections, more devices and larger payloads; a minute more.
    Api,
    /// `POST /events` with a thousand tokens; some minutes more.
    Tokens,
    /// Many states in one call, against one MGET and against single reads; some minutes more.
    States,
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
    /// The rows that run if none is named.
    pub(crate) const DEFAULT: [Self; 8] =
        [Self::Post, Self::Batch, Self::Read, Self::Worker, Self::Visible, Self::Backlog, Self::Lone, Self::Start];

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
            Self::Lone => lone::measure,
            Self::Start => start::measure,
            Self::Api => api_growth::measure,
            Self::Tokens => tokens::measure,
            Self::States => states::measure,
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

/// Measures the API and bare servers under the same saturating load, in turns; then the API's latency at a rate below
/// saturation. Of each server: its name, and where it is; the first is the API.
fn beside<'a, const N: usize>(
    bed: &TestBed,
    scale: &Scale,
    name: &str,
    api: &'a Api,
    servers: [(&str, &'a str); N],
    load: impl Fn(&'a str) -> Load<'a>,
    rate: u32,
) -> anyhow::Result<(Figure, [Series; N])> {
    let mut last = None;
    let all = take_turns(scale.rounds, servers.map(|(name, _)| name), |turn| {
        let (_, url) = servers.get(turn).context("a server for each turn")?;
        if turn > 0 {
            return load(url).saturate(scale.turn());
        }
        let (outcome, usages) = saturate(bed, api, &load(url), scale.turn())?;
        last = Some((outcome.latency, usages));
        Ok(outcome)
    })?;
    let open = Load { connections: 64, ..load(&api.url) }.at_rate(rate, long_enough(scale.turn(), rate))?;
    println!("  at {rate} a second: p99 {:.2} ms", open.latency.p99);
    let (saturated, usages) = last.unzip();
    let saturated = saturated.map(|latency| ("saturated (closed loop)".to_owned(), latency));
    let open = (format!("at {rate} requests/s (open loop, corrected)"), open.latency);
    let row = Figure {
        latencies: saturated.into_iter().chain([open]).collect(),
        usages: usages.unwrap_or_default(),
        ..Figure::new(name, "requests/s", all.first().cloned().unwrap_or_default())
    };
    Ok((row, all))
}

/// Runs several measurements in turn, identified by their index, and prints the progress. The first is the subject,
/// the others are its ceilings. Each round begins with another one. The first round is a warm-up and does not count.
fn take_turns<const N: usize, T: Into<Turn>>(
    rounds: u32,
    names: [&str; N],
    mut turn: impl FnMut(usize) -> anyhow::Result<T>,
) -> anyhow::Result<[Series; N]> {
    let mut all = [const { Series { rounds: Vec::new(), load: Vec::new() } }; N];
    for round in 0..=rounds {
        let mut told = [const { String::new() }; N];
        for place in order(usize::try_from(round)?, N) {
            let turn: Turn = turn(place)?.into();
            let load = turn.load.map_or_else(String::new, |load| format!(" (load {load:.2})"));
            if let (Some(told), Some(name), Some(series)) = (told.get_mut(place), names.get(place), all.get_mut(place))
            {
                *told = format!("   {name} {}{load}", number(turn.figure));
                if round > 0 {
                    series.push(turn);
                }
            }
        }
        let what = if round == 0 { "warming".to_owned() } else { format!("round {round}/{rounds}") };
        println!("  {what}{}", told.concat());
    }
    Ok(all)
}
