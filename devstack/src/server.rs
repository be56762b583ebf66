//! A handle on one server, a child process: stop, kill, freeze and restart it.

use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::dir::StackDir;
use crate::process::{Process, STEP, asked};
use crate::spawn;

/// The timeout of a start: enough for a cold start on a small machine that also compiles.
const START: Duration = Duration::from_secs(180);
/// The timeout of a graceful stop; then the server is killed.
const STOP: Duration = Duration::from_secs(20);

/// How to run a server and how to check that it answers.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    pub(crate) stop: Signal,
    /// The signal for the fastest stop that leaves nothing outside the data directory.
    pub(crate) discard: Signal,
    /// Checks whether it answers; the error is the reason why not. It is called often, so it fails quickly.
    pub(crate) ready: Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
    pub(crate) log: PathBuf,
    /// The folder of its files.
    pub(crate) dir: Arc<StackDir>,
}

/// One server of a stack. All methods take `&self`, so that a test can stop a server while other threads use
/// it. [`start`](Server::start) restarts it with the same port and data.
pub struct Server {
    /// Locked during every operation. Dropped before the recipe, which holds the folder.
    process: Mutex<Option<Process>>,
    recipe: Recipe,
}

impl Server {
    pub(crate) fn launch(recipe: Recipe) -> anyhow::Result<Server> {
        let server = Server { recipe, process: Mutex::default() };
        server.start()?;
        Ok(server)
    }

    /// Starts it with the same port and data; returns when it answers. Does nothing if it already runs.
    pub fn start(&self) -> anyhow::Result<()> {
        let Recipe { name, command, log, .. } = &self.recipe;
        let mut there = self.process();
        if ended(there.as_ref())?.is_some() {
            let process = spawn::background(command(), log).with_context(|| format!("{name} does not start"))?;
            self.recipe.until_ready(&process)?;
            *there = Some(process);
        }
        Ok(())
    }

    /// Stops it gracefully and waits; kills it if that takes too long.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.end(self.recipe.stop)
    }

    pub fn kill(&self) -> anyhow::Result<()> {
        let mut there = self.process();
        there.take().map_or(Ok(()), |process| process.kill_tree())
    }

    /// Freezes all its processes (SIGSTOP); its connections stay open.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.told(Process::freeze)
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.told(Process::thaw)
    }

    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop()?;
        self.start()
    }

    /// How it ended, if it ended by itself.
    pub fn casualty(&self) -> Option<Casualty> {
        let how = ended(self.process().as_ref()).unwrap_or_else(|error| Some(format!("{error:#}")))?;
        Some(Casualty { name: self.recipe.name, how, log: self.recipe.log.clone() })
    }

    /// Its pid, for PostgreSQL the postmaster's; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    /// Ends it for good; gracefully only if its folder is kept.
    pub(crate) fn dismiss(&self) {
        let _ = if self.recipe.dir.is_kept() { self.stop() } else { self.end(self.recipe.discard) };
    }

    fn end(&self, signal: Signal) -> anyhow::Result<()> {
        let mut there = self.process();
        let Some(process) = there.take() else { return Ok(()) };
        // A frozen process handles no signal except SIGCONT and SIGKILL.
        process.thaw()?;
        process.signal(signal)?;
        if process.wait(STOP)?.is_none() { process.kill_tree() } else { Ok(()) }
    }

    fn told(&self, act: fn(&Process) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.process().as_ref().context("it is not running").and_then(act).context(self.recipe.name)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it ended; `None` while it exists, frozen or not.
fn ended(process: Option<&Process>) -> anyhow::Result<Option<String>> {
    match process {
        Some(process) => Ok(process.ended()?.map(|status| status.to_string())),
        None => Ok(Some("it is not running".to_owned())),
    }
}

impl Recipe {
    fn until_ready(&self, process: &Process) -> anyhow::Result<()> {
        let still_there = || match process.ended()? {
            None => Ok(()),
            Some(how) => bail!("{} does not start ({how}):\n{}", self.name, last_lines(&self.log, 15)),
        };
        let mut why = None;
        let ready = asked(START, 2 * STEP, || {
            still_there()?;
            // While nothing listens, a plain connect is much cheaper than starting a client.
            let listens = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map(drop).map_err(anyhow::Error::from);
            why = listens.and_then(|()| (self.ready)()).err();
            // Check that the server still runs: otherwise another process answered on its port.
            if why.is_none() { still_there().map(Some) } else { Ok(None) }
        })?;
        ready.with_context(|| {
            let why = why.map(|error| format!("{error:#}")).unwrap_or_default();
            format!("{} does not answer within {START:?}: {why}:\n{}", self.name, last_lines(&self.log, 15))
        })
    }
}

/// Types that own a server dereference to it.
macro_rules! servers {
    ($($name:ident),*) => {$(
        impl Deref for crate::$name {
            type Target = Server;

            fn deref(&self) -> &Server {
                &self.server
            }
        }
    )*};
}

servers!(Kafka, PgBouncer, Postgres, Redis);

/// A server or a service that ended by itself.
#[derive(Debug, Clone)]
pub struct Casualty {
    pub name: &'static str,
    /// Its exit status, or the signal that killed it.
    pub how: String,
    pub log: PathBuf,
}

impl fmt::Display for Casualty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Casualty { name, how, log } = self;
        write!(f, "{name} ended by itself ({how}); its last lines:\n{}", last_lines(log, 15))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.recipe.name).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Runs a program to its end and appends its output to `log`; an error has the last lines of the log.
pub(crate) fn run(command: Command, log: &Path, failed: &str) -> anyhow::Result<()> {
    let status = spawn::background(command, log)?.wait(Duration::from_secs(60))?;
    ensure!(status.is_some_and(|status| status.success()), "{failed}:\n{}", last_lines(log, 15));
    Ok(())
}

/// The last lines of a log file, or the reason why they are missing.
fn last_lines(log: &Path, count: usize) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(count);
            lines.get(from..).unwrap_or_default().join("\n")
        }
        Err(error) => format!("(no log: {error})"),
    }
}
