//! `make bench`: the figures of the system, each beside its ceiling.

mod bed;
mod disk;
mod load;
mod model;
mod open_loop;
mod records;
mod report;
mod rounds;
mod rows;
mod serve;
mod soak;
mod usage;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use crate::bed::TestBed;
use crate::report::Report;
use crate::rows::Row;

/// The ceilings use the same allocator as the services.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the system, each figure beside its ceiling.
#[derive(Debug, Parser)]
struct Settings {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only these rows, separated by commas.
    #[arg(long, env, value_enum, value_delimiter = ',')]
    row: Vec<Row>,
    #[command(flatten)]
    scale: Scale,
}

/// How long and how much.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
pub(crate) struct Scale {
    /// Rounds of each row, in each of which the thing and its ceilings take turns.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long one turn takes, in seconds.
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Events that the worker finds in its topic, in each round.
    #[arg(long, env = "BENCH_WORKER_EVENTS", default_value_t = 200_000)]
    worker_events: usize,
    /// Events of the partition that drains in the row `backlog`.
    #[arg(long, env = "BENCH_BACKLOG", default_value_t = 1_000_000)]
    backlog: usize,
    /// Rows to expire in the row `expire`, behind as many expired ones.
    #[arg(long, env = "BENCH_EXPIRE_ROWS", default_value_t = 10_000_000)]
    expire_rows: usize,
}

impl Scale {
    fn turn(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves one of the ceilings, until it is killed.
    Serve(serve::Settings),
    /// Sends requests at a constant rate.
    OpenLoop(open_loop::Settings),
    /// Runs for long at 1,000 events a second with short retention, and tells what grows.
    Soak(soak::Settings),
    /// Computes what a number of devices needs of each part (docs/scale.md), without measuring anything.
    Model(Box<model::Settings>),
}

fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    let folder = devstack::target_dir().join("bench");
    match settings.command {
        Some(Command::Serve(serve)) => {
            serve::run(&serve)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::OpenLoop(open_loop)) => {
            open_loop::run(&open_loop)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Soak(soak)) => Ok(exit(soak::run(&start(&folder)?, &soak, &folder)?)),
        Some(Command::Model(model)) => model::run(&model).map(|()| ExitCode::SUCCESS),
        None => measure(settings, &folder),
    }
}

fn start(folder: &Path) -> anyhow::Result<TestBed> {
    std::fs::create_dir_all(folder)?;
    println!("starting Kafka, PostgreSQL and Redis");
    TestBed::start(folder)
}

fn exit(holds: bool) -> ExitCode {
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(settings: Settings, folder: &Path) -> anyhow::Result<ExitCode> {
    let rows = if settings.row.is_empty() { Row::DEFAULT.to_vec() } else { settings.row };
    let began = Instant::now();
    let bed = start(folder)?;
    let mut report = Report::new(&bed, settings.scale.clone())?;
    for row in rows {
        let from = Instant::now();
        println!("\n{row:?}: {}", row.what());
        report.rows.extend(row.measure()(&bed, &settings.scale)?);
        println!("  took {:.0} s", from.elapsed().as_secs_f64());
        // Save the results after each row, in case the next one fails.
        report.seconds = began.elapsed().as_secs();
        report.write(folder)?;
    }
    println!("{}", report.table());
    println!("in {} s; {}/report.json", report.seconds, folder.display());
    Ok(exit(report.below().is_empty()))
}
