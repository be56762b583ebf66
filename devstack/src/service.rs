//! A running `api-service` or `worker-service`.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use crate::log_pipe::LogReader;
use crate::process::Process;
use crate::server::Casualty;
use crate::{binaries, logs, spawn};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Api,
    Worker,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Program::Api => "api-service",
            Program::Worker => "worker-service",
        }
    }
}

/// A command with our environment, without some variables and with additional ones.
fn command(program: Program, without: &[&str], args: &[&str], env: &[(String, String)]) -> anyhow::Result<Command> {
    let mut command = spawn::command(&binaries()?.join(program.name()), None);
    for variable in without {
        command.env_remove(variable);
    }
    command.args(args).envs(env.iter().map(|(key, value)| (key, value)));
    Ok(command)
}

/// A running `api-service` or `worker-service`, killed when dropped.
#[derive(Debug)]
pub struct Service {
    program: Program,
    process: Process,
    log: PathBuf,
}

impl Deref for Service {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Service {
    /// Starts it with our environment and `env`; its output is appended to `log`.
    pub fn spawn(program: Program, args: &[&str], env: &[(String, String)], log: &Path) -> anyhow::Result<Service> {
        Service::spawn_without(&[], program, args, env, log)
    }

    /// The same without these variables of our environment.
    pub fn spawn_without(
        variables: &[&str],
        program: Program,
        args: &[&str],
        env: &[(String, String)],
        log: &Path,
    ) -> anyhow::Result<Service> {
        Service::run(program, spawn::background(command(program, variables, args, env)?, log)?, log)
    }

    fn run(program: Program, process: Process, log: &Path) -> anyhow::Result<Service> {
        logs::keep(log, program.name())?;
        Ok(Service { program, process, log: log.to_path_buf() })
    }

    /// The same with a pipe between it and its log; `reader` controls whether the pipe is read.
    pub fn spawn_read_by(
        reader: &LogReader,
        program: Program,
        args: &[&str],
        env: &[(String, String)],
        log: &Path,
    ) -> anyhow::Result<Service> {
        let out = reader.pipe_into(log)?;
        Service::run(program, spawn::background_into(command(program, &[], args, env)?, out.into())?, log)
    }

    pub fn program(&self) -> Program {
        self.program
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Waits for its end; an error if it still runs after `timeout`.
    pub fn wait(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        self.process.wait(timeout)?.with_context(|| format!("{} still runs after {timeout:?}", self.program.name()))
    }

    pub fn is_running(&self) -> bool {
        matches!(self.process.ended(), Ok(None))
    }

    pub fn casualty(&self) -> Option<Casualty> {
        let how = match self.process.ended() {
            Ok(status) => status?.to_string(),
            Err(error) => format!("{error:#}"),
        };
        Some(Casualty { name: self.program.name(), how, log: self.log.clone() })
    }

    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}
