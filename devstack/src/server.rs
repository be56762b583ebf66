//! The handle on one server: break it, mend it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context as _, bail, ensure};

use crate::child::Child;
use crate::process::STEP;

/// Long enough for a cold start beside a compiler on a small machine.
pub(crate) const START: Duration = Duration::from_secs(180);
/// After this a server that was asked to stop is killed.
pub(crate) const STOP: Duration = Duration::from_secs(20);

/// How a server is run, and asked whether it answers.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) child: Child,
    /// Whether it answers now, or why not. Asked often, so it is quick to say no.
    pub(crate) ready: Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
    pub(crate) log: PathBuf,
}

/// One server of a stack. All of it takes `&self`, so that a test can break a server while other
/// threads use it. After [`start`](Server::start) it has its old port and its old data.
pub struct Server {
    recipe: Recipe,
    turn: Mutex<()>,
}

impl Server {
    pub(crate) fn launch(recipe: Recipe) -> anyhow::Result<Server> {
        let server = Server { recipe, turn: Mutex::new(()) };
        server.start()?;
        Ok(server)
    }

    /// Starts it, on the port and the data that it had; returns when it answers. Nothing to do
    /// for one that runs.
    pub fn start(&self) -> anyhow::Result<()> {
        let Server { recipe, .. } = self;
        let _turn = self.turn();
        if recipe.child.ended()?.is_none() {
            return Ok(());
        }
        let started = recipe
            .child
            .start(&recipe.log)
            .with_context(|| format!("{} does not start", recipe.name))
            .and_then(|()| recipe.until_ready());
        if started.is_err() {
            let _ = recipe.child.kill();
        }
        started
    }

    /// Ends it in its orderly way, and waits; kills it where that takes too long.
    pub fn stop(&self) -> anyhow::Result<()> {
        let _turn = self.turn();
        self.recipe.child.stop()
    }

    pub fn kill(&self) -> anyhow::Result<()> {
        let _turn = self.turn();
        self.recipe.child.kill()
    }

    /// Stops it from running (SIGSTOP), with all its processes; its connections stay open.
    pub fn freeze(&self) -> anyhow::Result<()> {
        let _turn = self.turn();
        self.recipe.child.freeze().context(self.recipe.name)
    }

    /// Lets it run again after [`freeze`](Server::freeze).
    pub fn thaw(&self) -> anyhow::Result<()> {
        let _turn = self.turn();
        self.recipe.child.thaw().context(self.recipe.name)
    }

    /// [`stop`](Server::stop), then [`start`](Server::start).
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop()?;
        self.start()
    }

    /// Whether its process is there, frozen or not.
    pub fn is_running(&self) -> bool {
        let _turn = self.turn();
        matches!(self.recipe.child.ended(), Ok(None))
    }

    /// How it ended, where it did so by itself.
    pub fn casualty(&self) -> Option<Casualty> {
        let Server { recipe, .. } = self;
        let _turn = self.turn();
        let how = match recipe.child.ended() {
            Ok(how) => how?,
            Err(error) => format!("{error:#}"),
        };
        Some(Casualty { name: recipe.name, how, log: recipe.log.clone() })
    }

    /// The number of its process, of PostgreSQL its first one; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        let _turn = self.turn();
        self.recipe.child.pid()
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        last_lines(&self.recipe.log, 20)
    }

    /// Ends it quickly, for its data is not needed any more.
    pub(crate) fn discard(&self) {
        let _turn = self.turn();
        let _ = self.recipe.child.discard();
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recipe {
    fn until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            self.still_there()?;
            // Only an answer from a server that still lives is its own, not a stranger's.
            let Err(why) = (self.ready)() else { return self.still_there() };
            ensure!(
                Instant::now() < deadline,
                "{} does not answer within {START:?}: {why:#}:\n{}",
                self.name,
                last_lines(&self.log, 15)
            );
            sleep(2 * STEP);
        }
    }

    fn still_there(&self) -> anyhow::Result<()> {
        match self.child.ended()? {
            None => Ok(()),
            Some(how) => bail!("{} does not start ({how}):\n{}", self.name, last_lines(&self.log, 15)),
        }
    }
}

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

/// The last lines of a log file, or a word on why there are none.
pub fn last_lines(log: &Path, count: usize) -> String {
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
