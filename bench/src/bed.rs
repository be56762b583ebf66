//! The environment of the measurements: servers, and the services of one row.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use devstack::{Process, Program, Scope, Service, Stack, asked, foreground, port, psql, token};
use tokio::runtime::Runtime;

use crate::serve::Kind;
use crate::usage::Meter;

pub(crate) const SECRET: &str = "the secret of a measurement, long enough";
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct TestBed {
    pub(crate) stack: Stack,
    pub(crate) runtime: Runtime,
    pub(crate) folder: PathBuf,
    pub(crate) token: String,
}

impl TestBed {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let stack = Stack::start()?;
        let bed = Self {
            stack,
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
            folder: folder.to_owned(),
            token: token::hs256(SECRET, "bench", &["admin"], &[], Duration::from_secs(24 * 3600))?,
        };
        // PostgreSQL then records the commit time of every event, so that no event has to be polled for.
        bed.tune(&["track_commit_timestamp = on"])?;
        Ok(bed)
    }

    /// Changes settings of PostgreSQL and restarts it.
    pub(crate) fn tune(&self, settings: &[&str]) -> anyhow::Result<()> {
        for setting in settings {
            psql(&self.stack.postgres.url(), &format!("ALTER SYSTEM SET {setting}"))?;
        }
        self.stack.postgres.restart()
    }

    /// Meters for the servers and for these services.
    pub(crate) fn meters(&self, services: &[&Service]) -> Vec<Meter> {
        let servers = [
            ("kafka", self.stack.kafka.pid()),
            ("postgresql", self.stack.postgres.pid()),
            ("redis", self.stack.redis.pid()),
        ];
        let servers = servers.into_iter().filter_map(|(name, pid)| Some(Meter::start(name, pid?)));
        servers.chain(services.iter().copied().map(meter)).collect()
    }
}

/// The services of one row, with their own topics, database and cache keys.
pub(crate) struct Site<'a> {
    pub(crate) bed: &'a TestBed,
    pub(crate) scope: Scope,
    name: &'static str,
}

impl<'a> Site<'a> {
    pub(crate) fn new(bed: &'a TestBed, name: &'static str) -> anyhow::Result<Self> {
        let site = Self { bed, scope: Scope::on(&bed.stack.endpoints(), name)?, name };
        let setup = site.spawn(Program::Worker, &["setup"], &[])?;
        ensure!(setup.wait(TIMEOUT)?.success(), "setup failed:\n{}", setup.log());
        Ok(site)
    }

    fn spawn(&self, program: Program, args: &[&str], more: &[(&str, &str)]) -> anyhow::Result<Service> {
        let mut env = self.scope.env();
        // Cached bodies must not expire during a row.
        let any = format!("127.0.0.1:{}", port::free());
        let ops = more.iter().find(|(name, _)| *name == "OPS_BIND").map_or(any.as_str(), |(_, bind)| *bind);
        let own = [("JWT_SECRET", SECRET), ("CACHE_TTL", "1h"), ("OPS_BIND", ops), ("RUST_LOG", "info")];
        env.extend(own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let log = self.bed.folder.join(format!("{}-{}.log", self.name, program.name()));
        Service::spawn(program, args, &env, &log)
    }

    pub(crate) fn api(&self, more: &[(&str, &str)]) -> anyhow::Result<Api> {
        let port = port::free();
        let bind = format!("127.0.0.1:{port}");
        let ops = format!("127.0.0.1:{}", port::free());
        let mut settings = vec![("API_BIND", bind.as_str()), ("OPS_BIND", &ops)];
        settings.extend(more);
        let service = self.spawn(Program::Api, &[], &settings)?;
        listening(port).with_context(|| service.log())?;
        Ok(Api { service, url: format!("http://{bind}"), metrics: format!("http://{ops}/metrics") })
    }

    pub(crate) fn worker(&self, more: &[(&str, &str)]) -> anyhow::Result<Service> {
        self.spawn(Program::Worker, &["run"], more)
    }

    pub(crate) fn until_caught_up(&self, timeout: Duration) -> anyhow::Result<()> {
        let Scope { endpoints, input_topic, group, .. } = &self.scope;
        devstack::until_caught_up(&endpoints.kafka_brokers, input_topic, group, timeout)
    }

    pub(crate) fn sql(&self, statement: &str) -> anyhow::Result<String> {
        psql(&self.scope.database_url, statement)
    }

    /// The same for a row of numbers, in the order of its columns.
    pub(crate) fn numbers<const N: usize>(&self, statement: &str) -> anyhow::Result<[f64; N]> {
        let text = self.sql(statement)?;
        let all: Result<Vec<f64>, _> = text.split('|').map(str::parse).collect();
        let all = all.ok().and_then(|all| all.try_into().ok());
        all.with_context(|| format!("{statement}: not {N} numbers: {text}"))
    }
}

impl Drop for Site<'_> {
    /// Cleans up now, so that the next row is not slowed down by autovacuum of this row's tables, or by Kafka's
    /// writes, which reach the disk half a minute later.
    fn drop(&mut self) {
        let url = self.bed.stack.postgres.url();
        let database = self.scope.database_url.rsplit('/').next().unwrap_or_default();
        for statement in [&format!("DROP DATABASE \"{database}\" WITH (FORCE)"), "CHECKPOINT"] {
            if let Err(error) = psql(&url, statement) {
                eprintln!("bench: {statement}: {error:#}");
            }
        }
        rustix::fs::sync();
    }
}

pub(crate) struct Api {
    pub(crate) service: Service,
    /// `http://host:port`.
    pub(crate) url: String,
    metrics: String,
}

impl Api {
    /// The sum of a metric's series.
    pub(crate) fn metric(&self, runtime: &Runtime, name: &str) -> anyhow::Result<f64> {
        let text = runtime.block_on(async { reqwest::get(&self.metrics).await?.error_for_status()?.text().await })?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        Ok(text.lines().filter(of_name).filter_map(value).sum())
    }
}

pub(crate) fn meter(service: &Service) -> Meter {
    Meter::start(service.program().name(), service.pid())
}

pub(crate) fn end(service: &Service) -> anyhow::Result<ExitStatus> {
    service.terminate()?;
    service.wait(TIMEOUT)
}

/// A running ceiling: one of our bare servers, in its own process.
pub(crate) struct Bare {
    _process: Process,
    pub(crate) url: String,
}

impl Bare {
    pub(crate) fn start(kind: Kind, more: &[(&str, &str)]) -> anyhow::Result<Self> {
        let port = port::free();
        let exe = std::env::current_exe()?;
        let bind = format!("127.0.0.1:{port}");
        let kind = kind.to_possible_value().context("a ceiling without a name")?;
        let mut args = vec!["serve".to_owned(), kind.get_name().to_owned(), "--bind".to_owned(), bind.clone()];
        args.extend(more.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]));
        let process = foreground(exe.as_os_str(), &args, &[])?;
        listening(port)?;
        Ok(Self { _process: process, url: format!("http://{bind}") })
    }
}

fn listening(port: u16) -> anyhow::Result<()> {
    let listens = || Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    asked(TIMEOUT, Duration::from_millis(20), listens)?.with_context(|| format!("nothing listens on port {port}"))?;
    Ok(())
}
