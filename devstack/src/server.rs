//! The handle on one server: break it, mend it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::process::STEP;

/// Long enough for a cold start beside a compiler on a small machine.
pub(crate) const START: Duration = Duration::from_secs(180);
/// After this a server that was asked to stop is killed.
pub(crate) const STOP: Duration = Duration::from_secs(20);

/// How a server is run, and asked whether it answers.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) body: Arc<dyn Body>,
    /// Whether it answers now, or why not. Asked often, so it is quick to say no.
    pub(crate) ready: Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
    pub(crate) log: PathBuf,
}

/// What a server is: a [`Child`](crate::child::Child) of ours, or a
/// [`Container`](crate::container::Container). One verb at a time comes to it.
pub(crate) trait Body: Send + Sync {
    /// Starts it, with the port and the data that it had; what it writes goes to `log`. Does not wait for
    /// it to answer.
    fn start(&self, log: &Path) -> anyhow::Result<()>;
    /// How it ended; nothing while it is there, frozen or not.
    fn ended(&self) -> anyhow::Result<Option<String>>;
    /// Ends it in its orderly way, and waits; kills it where that takes longer than [`STOP`].
    fn stop(&self) -> anyhow::Result<()>;
    /// Kills all of it, and waits.
    fn kill(&self) -> anyhow::Result<()>;
    /// Stops all of it from running.
    fn freeze(&self) -> anyhow::Result<()>;
    /// Lets it run again.
    fn thaw(&self) -> anyhow::Result<()>;
    /// Ends it in the quickest way that leaves nothing behind.
    fn discard(&self) -> anyhow::Result<()>;
    /// The number of its first process, where this machine knows it.
    fn pid(&self) -> Option<u32>;
}

/// One server of a stack. All of it takes `&self`, so that a test can break a server while other
/// threads use it. After [`start`](Server::start) it has its old port and its old data.
pub struct Server {
    how: Result<Recipe, &'static str>,
    turn: Mutex<()>,
}

impl Server {
    pub(crate) fn launch(recipe: Recipe) -> anyhow::Result<Server> {
        let server = Server { how: Ok(recipe), turn: Mutex::new(()) };
        server.start()?;
        Ok(server)
    }

    /// A server without a process of its own: each verb fails and says why.
    pub(crate) fn without_process(why: &'static str) -> Server {
        Server { how: Err(why), turn: Mutex::new(()) }
    }

    /// Starts it, on the port and the data that it had; returns when it answers. Nothing to do
    /// for one that runs.
    pub fn start(&self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let _turn = self.turn();
        if recipe.body.ended()?.is_none() {
            return Ok(());
        }
        let started = recipe
            .body
            .start(&recipe.log)
            .with_context(|| format!("{} does not start", recipe.name))
            .and_then(|()| recipe.until_ready());
        if started.is_err() {
            let _ = recipe.body.kill();
        }
        started
    }

    /// Ends it in its orderly way, and waits; kills it where that takes too long.
    pub fn stop(&self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let _turn = self.turn();
        recipe.body.stop()
    }

    pub fn kill(&self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let _turn = self.turn();
        recipe.body.kill()
    }

    /// Stops it from running (SIGSTOP, or a pause of its container), with all its processes; its
    /// connections stay open.
    pub fn freeze(&self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let _turn = self.turn();
        recipe.body.freeze().context(recipe.name)
    }

    /// Lets it run again after [`freeze`](Server::freeze).
    pub fn thaw(&self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let _turn = self.turn();
        recipe.body.thaw().context(recipe.name)
    }

    /// [`stop`](Server::stop), then [`start`](Server::start).
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop()?;
        self.start()
    }

    /// Whether its process is there, frozen or not. What has no process cannot lose it: true.
    pub fn is_running(&self) -> bool {
        let Ok(recipe) = &self.how else { return true };
        let _turn = self.turn();
        matches!(recipe.body.ended(), Ok(None))
    }

    /// How it ended, where it did so by itself.
    pub fn casualty(&self) -> Option<Casualty> {
        let recipe = self.how.as_ref().ok()?;
        let _turn = self.turn();
        let how = match recipe.body.ended() {
            Ok(how) => how?,
            Err(error) => format!("{error:#}"),
        };
        Some(Casualty { name: recipe.name, how, log: recipe.log.clone() })
    }

    /// The number of its process, of PostgreSQL its first one; none while it is stopped, nor for a
    /// container whose processes this machine does not see.
    pub fn pid(&self) -> Option<u32> {
        let recipe = self.how.as_ref().ok()?;
        let _turn = self.turn();
        recipe.body.pid()
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        match &self.how {
            Ok(recipe) => last_lines(&recipe.log, 20),
            Err(_) => String::new(),
        }
    }

    /// Ends it quickly, for its data is not needed any more.
    pub(crate) fn discard(&self) {
        if let Ok(recipe) = &self.how {
            let _turn = self.turn();
            let _ = recipe.body.discard();
        }
    }

    fn recipe(&self) -> anyhow::Result<&Recipe> {
        self.how.as_ref().map_err(|why| anyhow::anyhow!(*why))
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
        match self.body.ended()? {
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
        f.debug_struct("Server")
            .field("name", &self.how.as_ref().map(|recipe| recipe.name))
            .field("pid", &self.pid())
            .finish_non_exhaustive()
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
