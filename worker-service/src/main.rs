//! The worker: parse, start telemetry, build, run, drain.

use anyhow::Context;
use shared::runtime::{config, lifecycle, ops, probe, telemetry};
use tokio::net::TcpListener;
use worker_service::command;
use worker_service::config::{Cli, Command, RunConfig};
use worker_service::worker::Worker;

/// Fewer instructions for each of the many small things that a request and an event are made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Before the runtime, which may panic too.
    worker_service::observe::panics::log_panics();
    match lifecycle::runtime() {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => {
            telemetry::last_words(format!("error: {error:#}"));
            std::process::exit(2);
        }
    }
}

async fn work() {
    let outcome = match config::read::<Cli>().command {
        Command::Run(config) => run(&config).await,
        Command::Setup(config) => command::setup(&config).await,
        Command::Resume(config) => command::resume(&config).await,
        Command::Dlq { command } => command::dlq(&command).await,
        Command::Seek(config) => command::seek(&config).await,
        Command::Domain(config) => command::of_domain(&config).await,
        Command::Health(config) => probe::health(&config),
    };
    if let Err(error) = outcome {
        telemetry::last_words(format!("error: {error:#}"));
        std::process::exit(1);
    }
    telemetry::flush_log();
    // Without waiting for threads that may hang in a server that is away.
    std::process::exit(0);
}

async fn run(config: &RunConfig) -> anyhow::Result<()> {
    let termination = lifecycle::termination().context("cannot wait for signals")?;
    telemetry::start_log(&config.log)?;
    telemetry::traces::start(&config.traces, "worker-service")?;
    let metrics = telemetry::start_metrics()?;
    worker_service::observe::metrics::describe();
    let bind = config.ops.bind;
    let ops = TcpListener::bind(bind).await.with_context(|| format!("OPS_BIND={bind}"))?;
    let mut worker = Worker::start(config)?;
    let health = worker.health.clone();
    tokio::spawn(ops::serve(ops, metrics, move || std::future::ready(health.report())));
    tracing::info!(ops = %bind, "the worker runs");

    tokio::select! {
        signal = termination => {
            tracing::info!(signal, "finishing what is under way");
            worker.stop().await?;
            telemetry::traces::stop().await;
            tracing::info!("the worker has ended");
            Ok(())
        }
        outcome = worker.ended() => outcome.context("the worker cannot go on"),
    }
}
