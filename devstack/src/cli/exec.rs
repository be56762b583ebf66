//! `devstack exec`: runs a command with its own servers.
//!
//! If it is killed (SIGKILL), the servers and the command end too, but not the command's own children, nor
//! servers in containers. If it is terminated, it stops these as well.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use devstack::{Endpoints, Process, Stack, foreground, tell_family};

use super::signals;

/// How long the command may take to end after the signal.
const GRACE: Duration = Duration::from_secs(20);
/// Ctrl-C in a terminal also reaches the command; if it still runs after this time, it gets a signal from us.
const OWN_WAY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Servers {
    /// Child processes of ours.
    Processes,
    /// Containers of their official images; devstack has to be built with its feature `containers`.
    Containers,
}

pub(crate) fn run(servers: Servers, command: &[OsString]) -> anyhow::Result<ExitCode> {
    signals::listen()?;
    match servers {
        Servers::Processes => {
            let stack = Stack::start_shared()?;
            beside(&stack.endpoints(), command)
        }
        #[cfg(feature = "containers")]
        Servers::Containers => {
            let containers = devstack::Containers::start().context("the servers cannot be containers")?;
            eprintln!("devstack: Kafka, PostgreSQL and Redis are containers");
            beside(&containers.endpoints(), command)
        }
        #[cfg(not(feature = "containers"))]
        Servers::Containers => anyhow::bail!("devstack was built without its feature `containers`"),
    }
}

fn beside(endpoints: &Endpoints, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, args) = command.split_first().context("no command")?;
    if let Some(signal) = signals::first() {
        return Ok(ExitCode::from(128 + signal));
    }
    let env = [endpoints.env()?];
    let process = foreground(program, args, &env)?;
    let status = loop {
        if let Some(status) = process.wait(Duration::from_millis(100))? {
            break status;
        }
        if let Some(signal) = signals::first() {
            end(&process, signal)?;
            return Ok(ExitCode::from(128 + signal));
        }
    };
    Ok(code(status))
}

/// Ends the command and all its descendants: `cargo test`, for example, does not end its tests.
fn end(process: &Process, signal: u8) -> anyhow::Result<()> {
    let family = devstack::family(process.pid());
    let deadline = Instant::now() + GRACE;
    if signal != 2 || process.wait(OWN_WAY)?.is_none() {
        tell_family(&family, false);
    }
    process.wait(deadline.saturating_duration_since(Instant::now()))?;
    tell_family(&family, true);
    Ok(())
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
