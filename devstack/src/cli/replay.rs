//! `devstack replay`: sends a file of events through a running system twice, then checks the result.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use devstack::replay::{Posted, Replay};
use devstack::{psql, until_caught_up};

/// Where the running system is; `target/dev/env` has all of it.
#[derive(clap::Args)]
pub(crate) struct Running {
    #[arg(long, env)]
    api: String,
    #[arg(long, env, hide_env_values = true)]
    token: String,
    #[arg(long, env, hide_env_values = true)]
    database_url: String,
    #[arg(long, env)]
    kafka_brokers: String,
    #[arg(long, env, default_value = "events-input")]
    kafka_input_topic: String,
    #[arg(long, env, default_value = "events-processor")]
    kafka_group: String,
}

/// The timeout from the last answer until all events are visible.
const VISIBLE: Duration = Duration::from_secs(10);
const CAUGHT_UP: Duration = Duration::from_secs(120);

pub(crate) fn run(file: &Path, lines: usize, running: &Running) -> anyhow::Result<ExitCode> {
    let replay = Replay::read(file, |number| number <= lines)?;
    println!("{} events of {} devices", replay.events(), replay.devices());
    let runtime = tokio::runtime::Runtime::new()?;
    for round in ["first", "second"] {
        let from = Instant::now();
        let posted = runtime.block_on(replay.post(&running.api, &running.token))?;
        let took = from.elapsed().as_secs_f64();
        ensure!(posted == Posted::from([(202, replay.events())]), "not all were accepted: {posted:?}");
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = replay.events() as f64 / took;
        println!("{round} time: all answered 202 after {took:.1} s, {rate:.0} a second");
        let from = Instant::now();
        if round == "second" {
            // Repeated events change nothing, so only the group's progress shows that they were processed.
            let Running { kafka_brokers, kafka_input_topic, kafka_group, .. } = running;
            until_caught_up(kafka_brokers, kafka_input_topic, kafka_group, CAUGHT_UP)?;
        }
        runtime.block_on(replay.verify(&running.api, &running.token, VISIBLE))?;
        println!("{round} time: every resource is its last event after {:.1} s", from.elapsed().as_secs_f64());
        let rows = psql(&running.database_url, "SELECT count(*) FROM events WHERE event_id ~ '^[0-9]+$'")?;
        ensure!(rows == replay.events().to_string(), "events holds {rows} rows");
        println!("{round} time: events holds {rows} rows");
    }
    Ok(ExitCode::SUCCESS)
}
