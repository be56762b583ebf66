//! `devstack dev`: everything, with both services, until Ctrl-C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use devstack::{Ports, Program, Service, Stack, binaries, last_lines, port};

use super::settings::{DLQ_TOPIC, INPUT_TOPIC, Settings};
use super::tail::Tail;
use super::{probe, signals};

const STEP: Duration = Duration::from_millis(50);
const SETUP: Duration = Duration::from_secs(120);
const READY: Duration = Duration::from_secs(60);
/// What a service has to finish what it began.
const DRAIN: Duration = Duration::from_secs(25);
/// As `worker-service setup` would make them.
const PARTITIONS: i32 = 6;

/// Runs until it is asked to end.
pub(crate) fn run(api_port: u16) -> anyhow::Result<ExitCode> {
    devstack::announce();
    signals::listen()?;
    ensure!(!port::in_use(api_port), "port {api_port} is in use; API_PORT=8001 make dev takes another");
    let result = everything(api_port);
    // What went wrong after an end was asked for went wrong because of that.
    if signals::asked() {
        println!("devstack: ended");
        return Ok(ExitCode::SUCCESS);
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn everything(api_port: u16) -> anyhow::Result<()> {
    say("building the services");
    let bin = binaries()?;
    say("starting Kafka, PostgreSQL and Redis");
    let from = Instant::now();
    let stack = Stack::start_on(Ports::well_known())?;
    let at = stack.endpoints();
    say(&format!("Kafka       {}", at.kafka_brokers));
    say(&format!("PostgreSQL  {}", at.postgres_url));
    say(&format!("Redis       {}", at.redis_url));
    say(&format!("all answer after {:.1} s", from.elapsed().as_secs_f64()));

    let folder = devstack::target_dir().join("dev");
    fs::create_dir_all(&folder).context("cannot create target/dev")?;
    let settings = Settings::new(&stack, api_port)?;
    let file = folder.join("env");
    settings.write(&file)?;

    let mut session = Session { stack: &stack, services: vec![], tails: vec![] };
    session.setup(&settings, &folder)?;
    session.start(Program::Worker, &["run"], &settings.for_worker(), &folder)?;
    session.start(Program::Api, &[], &settings.for_api(), &folder)?;
    session.until_ready("api-service", api_port)?;
    // It has its partitions: what is posted now can be read at once.
    session.until_ready("worker-service", settings.worker_ops_port)?;
    println!("ready: {}", settings.api);
    println!("{}", settings.calls(&file, &bin));
    let ended = session.watch();
    if signals::asked() {
        say("ending (once more Ctrl-C kills)");
    }
    ended
}

/// The services and their logs on the terminal. Dropped, it ends them in an orderly way.
struct Session<'a> {
    stack: &'a Stack,
    services: Vec<(Service, PathBuf)>,
    tails: Vec<Tail>,
}

impl Session<'_> {
    /// Topics and tables. The mock has no call that creates topics.
    fn setup(&mut self, settings: &Settings, folder: &Path) -> anyhow::Result<()> {
        say("creating topics and tables");
        let kafka = &self.stack.kafka;
        let args: &[&str] = if kafka.is_real() {
            &["setup"]
        } else {
            kafka.mock_topic(INPUT_TOPIC, PARTITIONS)?;
            kafka.mock_topic(DLQ_TOPIC, PARTITIONS)?;
            &["setup", "--skip-topics"]
        };
        let log = fresh(folder, "setup.log")?;
        let _tail = Tail::follow(&log, "setup");
        let setup = Service::spawn(Program::Worker, args, &settings.for_worker(), &log)?;
        let deadline = Instant::now() + SETUP;
        while setup.is_running() && !signals::asked() {
            ensure!(Instant::now() < deadline, "worker-service setup does not end");
            sleep(STEP);
        }
        if signals::asked() {
            bail!("interrupted");
        }
        let status = setup.wait(Duration::ZERO)?;
        ensure!(status.success(), "worker-service setup failed ({status})");
        Ok(())
    }

    fn start(
        &mut self,
        program: Program,
        args: &[&str],
        env: &[(String, String)],
        folder: &Path,
    ) -> anyhow::Result<()> {
        let (name, prefix) = match program {
            Program::Api => ("api.log", "api"),
            Program::Worker => ("worker.log", "worker"),
        };
        let log = fresh(folder, name)?;
        self.tails.push(Tail::follow(&log, prefix));
        let service = Service::spawn(program, args, env, &log)?;
        self.services.push((service, log));
        Ok(())
    }

    fn until_ready(&self, name: &str, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        while !probe::ready(port) {
            self.check()?;
            if signals::asked() {
                bail!("interrupted");
            }
            ensure!(Instant::now() < deadline, "{name} is not ready after {READY:?}");
            sleep(STEP);
        }
        Ok(())
    }

    /// Returns when an end is asked for, or something ended by itself.
    fn watch(&self) -> anyhow::Result<()> {
        while !signals::asked() {
            self.check()?;
            sleep(4 * STEP);
        }
        Ok(())
    }

    /// Whether all that should run does.
    fn check(&self) -> anyhow::Result<()> {
        for (service, log) in &self.services {
            if !service.is_running() {
                let name = service.program().name();
                let status = service.wait(Duration::ZERO)?;
                bail!("{name} ended ({status}); its last lines:\n{}", last_lines(log, 10));
            }
        }
        match self.stack.casualties().first() {
            Some((name, log)) => bail!("{name} ended; its last lines:\n{log}"),
            None => Ok(()),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for (service, _) in &self.services {
            let _ = service.terminate();
        }
        let deadline = Instant::now() + DRAIN;
        for (service, _) in &self.services {
            let left = deadline.saturating_duration_since(Instant::now());
            if service.wait(left).is_err() {
                say(&format!("{} is killed", service.program().name()));
                let _ = service.kill();
            }
        }
        self.tails.clear();
    }
}

/// An empty log file.
fn fresh(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let log = folder.join(name);
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    Ok(log)
}

fn say(what: &str) {
    println!("devstack: {what}");
}
