//! The worker: parse, start telemetry, build, run, drain.

use shared::runtime::{config, lifecycle, probe, telemetry};
use worker_service::config::{Cli, Command};
use worker_service::{command, worker};

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
        Command::Run(config) => worker::run(&config).await,
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
