//! `devstack dev`: runs all servers and both services until Ctrl-C.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use devstack::{Program, Redis, Stack, Up, await_coordinator, binaries};

use super::ports::{Taken, Wanted};
use super::session::{Ended, Session, tables};
use super::settings::Settings;
use super::signals;
use super::steps::{say, step};

#[derive(clap::Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    ports: Wanted,
    /// Where the logs are, and the file `env` that a shell reads; target/dev by default.
    #[arg(long)]
    folder: Option<PathBuf>,
}

pub(crate) fn run(dev: &Dev) -> anyhow::Result<ExitCode> {
    signals::listen()?;
    let ports = dev.ports.take()?;
    let folder = dev.folder.clone().unwrap_or_else(|| devstack::target_dir().join("dev"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    match everything(ports, &folder) {
        // The crash came first, even if Ctrl-C was pressed while the rest stopped.
        Err(error) if error.is::<Ended>() => Err(error),
        // Any other error after Ctrl-C is a consequence of it.
        _ if signals::asked() => {
            say("ended");
            Ok(ExitCode::SUCCESS)
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn everything(ports: Taken, folder: &Path) -> anyhow::Result<()> {
    let from = Instant::now();
    let bin = binaries()?;
    let files = std::path::absolute(folder.join("files"))?;
    // Of a database that is gone.
    if let Err(error) = fs::remove_dir_all(&files)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot empty {}", files.display()));
    }
    let settings = Settings::new(ports, &files)?;
    settings.tell_foreign();
    let stack = step("Kafka, PostgreSQL and Redis", || {
        Stack::start_on(ports.servers, |server| up(server, from, &settings, folder))
    })?;
    let ad_redis = step("a second Redis, for frequency caps", || Redis::start_on(ports.ad_redis, &[]))?;
    let token = settings.token()?;
    let file = folder.join("env");
    settings.write(&file, &token)?;

    let mut session = Session::new(&stack, &ad_redis, folder);
    step("topics", || session.topics(&settings))?;
    step("worker-service and api-service", || {
        session.start(Program::Worker, &["run"], &settings.for_worker())?;
        session.start(Program::Api, &[], &settings.for_api())?;
        // The worker has its partitions, so an event posted now is visible at once.
        session.until_ready(&[("api-service", ports.api), ("worker-service", ports.worker_ops)])
    })?;
    say(&format!("everything: {:.1} s", from.elapsed().as_secs_f64()));
    println!("ready: {}", settings.api());
    println!("{}", settings.calls(&token, &file, &bin));
    let ended = session.watch();
    if ended.is_ok() {
        say("ending (once more Ctrl-C kills)");
    } else {
        say("ending what is left");
    }
    ended
}

/// The work to do as soon as one server is up, while others still start.
fn up(server: Up<'_>, from: Instant, settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    let after = || format!("after {:.1} s", from.elapsed().as_secs_f64());
    match server {
        Up::Redis(redis) => say(&format!("Redis answers {}: {}", after(), redis.url())),
        Up::Postgres(postgres) => {
            say(&format!("PostgreSQL answers {}: 127.0.0.1:{}", after(), postgres.port));
            step("tables", || {
                settings.create_database(postgres)?;
                tables(settings, folder)
            })?;
        }
        Up::Kafka(kafka) => {
            say(&format!("Kafka answers {}: {}", after(), kafka.brokers()));
            // A group's first request for its coordinator makes the broker create it, which takes a while.
            // Requesting it now saves the worker that wait.
            let (brokers, group) = (kafka.brokers().to_owned(), settings.group().to_owned());
            std::thread::spawn(move || await_coordinator(&brokers, &group));
        }
    }
    Ok(())
}
