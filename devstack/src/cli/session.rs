//! The services that `devstack dev` runs on its servers, with their logs on the terminal.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use devstack::{Casualty, Program, Redis, Service, Stack, port};

use super::settings::{FOREIGN, Settings};
use super::signals;
use super::steps::say;
use super::tail::Tail;

const STEP: Duration = Duration::from_millis(20);
const SETUP: Duration = Duration::from_secs(120);
const READY: Duration = Duration::from_secs(60);
/// How long a service may take to finish its work in progress.
const DRAIN: Duration = Duration::from_secs(25);

/// A server or service ended by itself; everything else is then stopped.
#[derive(Debug, thiserror::Error)]
#[error("{} ended by itself ({})", .0.name, .0.how)]
pub(crate) struct Ended(Casualty);

/// The services and their logs on the terminal. Dropping it shuts them down gracefully.
pub(crate) struct Session<'a> {
    stack: &'a Stack,
    ad_redis: &'a Redis,
    folder: &'a Path,
    services: Vec<Service>,
    tails: Vec<Tail>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(stack: &'a Stack, ad_redis: &'a Redis, folder: &'a Path) -> Self {
        Session { stack, ad_redis, folder, services: vec![], tails: vec![] }
    }

    pub(crate) fn topics(&self, settings: &Settings) -> anyhow::Result<()> {
        setup(&[], settings, self.folder, "topics.log", || self.check())
    }

    pub(crate) fn start(&mut self, program: Program, args: &[&str], env: &[(String, String)]) -> anyhow::Result<()> {
        let (name, prefix) = match program {
            Program::Api => ("api.log", "api"),
            Program::Worker => ("worker.log", "worker"),
        };
        let log = fresh(self.folder, name)?;
        self.tails.push(Tail::follow(&log, prefix));
        self.services.push(Service::spawn_without(&FOREIGN, program, args, env, &log)?);
        Ok(())
    }

    pub(crate) fn until_ready(&self, ports: &[(&str, u16)]) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        for (name, port) in ports {
            while !is_ready(*port) {
                self.check()?;
                ensure!(Instant::now() < deadline, "{name} is not ready after {READY:?}");
                pause()?;
            }
        }
        Ok(())
    }

    /// Returns on Ctrl-C, or with an error if something ended by itself.
    pub(crate) fn watch(&self) -> anyhow::Result<()> {
        while !signals::asked() {
            self.check()?;
            sleep(5 * STEP);
        }
        Ok(())
    }

    /// An error if something ended by itself. It is reported at once, because stopping the rest takes a while.
    fn check(&self) -> anyhow::Result<()> {
        // Servers first: a service may have ended because its server did.
        let servers = self.stack.casualties().into_iter().chain(self.ad_redis.casualty());
        let casualties: Vec<_> = servers.chain(self.services.iter().filter_map(Service::casualty)).collect();
        for casualty in &casualties {
            // In one piece: services log to the same terminal.
            let line = format!("devstack: {casualty}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        match casualties.into_iter().next() {
            Some(first) => Err(Ended(first).into()),
            None => Ok(()),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for service in &self.services {
            let _ = service.terminate();
        }
        let deadline = Instant::now() + DRAIN;
        for service in &self.services {
            let left = deadline.saturating_duration_since(Instant::now());
            if service.wait(left).is_err() {
                say(&format!("{} is killed", service.program().name()));
                let _ = service.kill();
            }
        }
        self.tails.clear();
    }
}

pub(crate) fn tables(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    setup(&["--skip-topics"], settings, folder, "tables.log", || Ok(()))
}

fn setup(
    args: &[&str],
    settings: &Settings,
    folder: &Path,
    log: &str,
    check: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let log = fresh(folder, log)?;
    let _tail = Tail::follow(&log, "setup");
    let args = [&["setup"], args].concat();
    let setup = Service::spawn_without(&FOREIGN, Program::Worker, &args, &settings.for_worker(), &log)?;
    let deadline = Instant::now() + SETUP;
    while setup.is_running() {
        check()?;
        ensure!(Instant::now() < deadline, "worker-service setup does not end");
        pause()?;
    }
    let status = setup.wait(Duration::ZERO)?;
    ensure!(status.success(), "worker-service setup failed ({status})");
    Ok(())
}

fn is_ready(port: u16) -> bool {
    let question = "GET /health/ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    port::ask(port, question, Duration::from_secs(2)).is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

/// Sleeps briefly; an error after Ctrl-C.
fn pause() -> anyhow::Result<()> {
    if signals::asked() {
        bail!("interrupted");
    }
    sleep(STEP);
    Ok(())
}

fn fresh(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let log = folder.join(name);
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    Ok(log)
}
