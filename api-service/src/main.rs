//! The API: parse, start telemetry, build, run, drain.

use std::process::ExitCode;

use anyhow::Context;
use api_service::app::App;
use api_service::config::{Cli, Config};
use shared::runtime::{config, lifecycle, probe, telemetry};

/// Needs fewer instructions for the many small allocations of a request and an event.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before the runtime starts, which panics if it cannot create threads.
    telemetry::log_panics();
    match lifecycle::runtime() {
        Ok(runtime) => {
            let status = runtime.block_on(run());
            // Does not wait for threads that may hang in a call to a server that is down.
            runtime.shutdown_background();
            status
        }
        Err(error) => refused(&error),
    }
}

async fn run() -> ExitCode {
    let config = match config::read() {
        Cli::Serve(config) => *config,
        Cli::Health(config) => {
            let told = |error: &anyhow::Error| eprintln!("error: {error:#}");
            return ExitCode::from(u8::from(probe::health(&config).inspect_err(told).is_err()));
        }
    };
    // Before any port is bound, a wrong setting ends the start. From here on, a SIGTERM shuts the service down in order.
    let started = lifecycle::termination().context("cannot wait for signals");
    let (termination, app) = match started.and_then(|termination| Ok((termination, start(&config)?))) {
        Ok(started) => started,
        Err(error) => return refused(&error),
    };
    let failed = |error: &anyhow::Error| tracing::error!(error = format!("{error:#}"), "the service has failed");
    let served = app.serve(&config, termination).await.inspect_err(failed);
    telemetry::flush_log();
    ExitCode::from(u8::from(served.is_err()))
}

fn start(config: &Config) -> anyhow::Result<App> {
    config.backbone.check()?;
    telemetry::start_log(&config.log)?;
    config.backbone.warn();
    telemetry::traces::start(&config.traces, "api-service")?;
    App::build(config)
}

fn refused(error: &anyhow::Error) -> ExitCode {
    telemetry::last_words(format!("error: {error:#}"));
    ExitCode::from(2)
}
