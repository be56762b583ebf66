//! The rows of the table: what is measured, and how.

mod api_growth;
mod backlog;
mod batch;
mod expire;
mod pooler;
mod post;
mod read;
mod resources;
pub(crate) mod visible;
mod worker;

use std::time::Duration;

use clap::ValueEnum;

use crate::Scale;
use crate::bed::{Api, Bed};
use crate::load::{Load, Outcome};
use crate::report::Figure;
use crate::usage::{Meter, Usage};

/// A row.
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
    /// The worker behind a pooler of transactions (PgBouncer), against the worker without one.
    Pooler,
}

impl Row {
    /// Those that fit into ten minutes together.
    pub(crate) const IN_TEN_MINUTES: [Self; 7] =
        [Self::Post, Self::Batch, Self::Read, Self::Worker, Self::Visible, Self::Backlog, Self::Api];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Post => "POST /events, 256 connections, against bare axum parsing the same body",
            Self::Batch => "POST /events/batch, events a second, against a bare librdkafka producer",
            Self::Read => "GET /resource/{id}, hits, against axum with one GET on the same Redis",
            Self::Worker => "the worker on a preloaded topic, against the same statements from memory",
            Self::Visible => "accepted to visible, and memory, at 1,000 events a second",
            Self::Backlog => "the same on partitions without a backlog, while another one drains",
            Self::Api => "POST /events with other connections, devices and payloads",
            Self::Growth => "the worker with more resources",
            Self::Expire => "expiry beside an ingest, in a large table",
            Self::Pooler => "the worker behind PgBouncer, against the worker without it",
        }
    }

    pub(crate) fn measure(self, bed: &Bed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Post => post::measure(bed, scale),
            Self::Batch => batch::measure(bed, scale),
            Self::Read => read::measure(bed, scale),
            Self::Worker => worker::measure(bed, scale),
            Self::Visible => visible::measure(bed, scale),
            Self::Backlog => backlog::measure(bed, scale),
            Self::Api => api_growth::measure(bed, scale),
            Self::Growth => resources::measure(bed, scale),
            Self::Expire => expire::measure(bed, scale),
            Self::Pooler => pooler::measure(bed, scale),
        }
    }
}

/// As fast as the API answers, with what every process used meanwhile.
fn saturate(bed: &Bed, api: &Api, load: &Load<'_>, time: Duration) -> anyhow::Result<(Outcome, Vec<Usage>)> {
    let mut meters = bed.meters();
    meters.push(api.meter());
    let outcome = load.saturate(time)?;
    let mut usages: Vec<_> = meters.iter().map(Meter::read).collect();
    usages.push(outcome.usage.clone());
    Ok((outcome, usages))
}

/// Lets several things take turns, and says how it goes. The first one is what is measured, the others
/// are its ceilings; a first round for getting warm does not count.
fn take_turns<const N: usize>(
    rounds: u32,
    names: [&str; N],
    mut turns: [&mut dyn FnMut() -> anyhow::Result<f64>; N],
) -> anyhow::Result<[crate::rounds::Series; N]> {
    let mut all = [const { crate::rounds::Series { rounds: Vec::new() } }; N];
    for round in 0..=rounds {
        let mut line = if round == 0 { "  warming".to_owned() } else { format!("  round {round}/{rounds}") };
        for ((name, turn), series) in names.iter().zip(&mut turns).zip(&mut all) {
            let figure = turn()?;
            if round > 0 {
                series.push(figure);
            }
            line.push_str(&format!("   {name} {}", crate::report::number(figure)));
        }
        println!("{line}");
    }
    Ok(all)
}
