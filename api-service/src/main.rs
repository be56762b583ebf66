//! Starts the API, and ends it in order.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use api_service::app::App;
use api_service::config::{Cli, Config};
use api_service::health;
use api_service::run::run;
use shared::runtime::probe::{self, HealthConfig};
use shared::runtime::{lifecycle, ops, telemetry};
use tokio::net::{TcpListener, TcpSocket};

/// Fewer instructions for each of the many small things that a request and an event are made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that may wait to be accepted, as many as Linux allows by default (`net.core.somaxconn`); tokio's own
/// `bind` asks for 128.
const BACKLOG: u32 = 4_096;

fn main() -> ExitCode {
    // Before the runtime, which may panic too, for want of threads.
    telemetry::log_panics();
    match lifecycle::runtime() {
        Ok(runtime) => runtime.block_on(serve()),
        Err(error) => {
            telemetry::last_words(format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn serve() -> ExitCode {
    let config = match shared::runtime::config::read() {
        Cli::Serve(config) => *config,
        Cli::Health(config) => return asked(&config),
    };
    // Whatever is wrong with the settings ends the start here, before any port is bound. Who is told to end meanwhile
    // ends in order behind it.
    let started = lifecycle::termination().context("cannot wait for signals");
    let (termination, app) = match started.and_then(|termination| Ok((termination, start(&config)?))) {
        Ok(started) => started,
        Err(error) => {
            telemetry::last_words(format!("error: {error:#}"));
            return ExitCode::from(2);
        }
    };
    let code = match live(config, app, termination).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the service ends");
            ExitCode::FAILURE
        }
    };
    telemetry::flush_log();
    code
}

fn asked(config: &HealthConfig) -> ExitCode {
    match probe::health(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Config) -> anyhow::Result<App> {
    config.check()?;
    telemetry::start_log(&config.log)?;
    config.jwt.warn();
    telemetry::traces::start(&config.traces, "api-service")?;
    App::build(config)
}

/// Listens with room for a fleet that comes back at once: who finds none is dropped by the kernel, and tries again
/// after a second or more.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: connections of the process before may still be ending.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn live(config: Config, app: App, termination: impl Future<Output = &'static str>) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    api_service::metrics::describe();
    let internal = TcpListener::bind(config.ops.bind).await.with_context(|| format!("OPS_BIND={}", config.ops.bind))?;
    let listener = listen(config.http.bind).with_context(|| format!("API_BIND={}", config.http.bind))?;
    tracing::info!(address = %listener.local_addr()?, internal = %internal.local_addr()?, "listening");

    let state = app.clone();
    tokio::spawn(ops::serve(internal, metrics, move || std::future::ready(health::report(&state))));
    run(app, listener, async {
        // Not within the line: where it is not logged, its values are not asked for.
        let signal = termination.await;
        tracing::info!(signal, "told to end");
    })
    .await;
    telemetry::traces::stop().await;
    tracing::info!("ended");
    Ok(())
}
