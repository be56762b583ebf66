//! The worker: parse, start telemetry, build, run, drain.

use shared::runtime::{config, lifecycle, probe, telemetry};
use worker_service::config::{Cli, Command};
use worker_service::{command, worker};

/// Needs fewer instructions for the many small allocations of an event.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Before the runtime is built, which may panic too.
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
    if let Err(error) = worker_service::config::check() {
        telemetry::last_words(format!("error: {error:#}"));
        std::process::exit(2);
    }
    let outcome = match config::read::<Cli>().command {
        Command::Run(config) => worker::run(&config).await,
        Command::Setup(config) => command::setup(&config).await,
        Command::Resume(config) => command::resume(&config).await,
        Command::Dlq { command } => command::dlq(&command).await,
        Command::Seek(config) => command::seek(&config).await,
        Command::Domain(config) => command::of_domain(&config).await,
        Command::Events => command::events(),
        Command::Health(config) => probe::health(&config),
    };
    if let Err(error) = outcome {
        telemetry::last_words(format!("error: {error:#}"));
        std::process::exit(1);
    }
    telemetry::flush_log();
    // Does not wait for threads that may hang in a call to a server that is down.
    std::process::exit(0);
}
