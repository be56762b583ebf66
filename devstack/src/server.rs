//! The handle on one server process: break it, mend it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::process::{Process, STEP};
use crate::spawn;

/// Long enough for a cold start beside a compiler on a small machine.
const START: Duration = Duration::from_secs(90);
/// After this a server that was asked to stop is killed.
const STOP: Duration = Duration::from_secs(20);

/// How a server is started, asked whether it answers, and stopped.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Whether it answers now, or why not. Asked often, so it is quick to say no.
    pub(crate) ready: Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
    pub(crate) log: PathBuf,
    /// The signal for an orderly end.
    pub(crate) stop: Signal,
    /// The signal for the quickest end that leaves nothing outside its data directory.
    pub(crate) discard: Signal,
}

/// One server of a stack. All of it takes `&self`, so that a test can break a server while other
/// threads use it. After [`start`](Server::start) it has its old port and its old data.
pub struct Server {
    how: Result<Recipe, &'static str>,
    process: Mutex<Option<Process>>,
}

impl Server {
    pub(crate) fn launch(recipe: Recipe) -> anyhow::Result<Server> {
        let server = Server { how: Ok(recipe), process: Mutex::new(None) };
        server.start()?;
        Ok(server)
    }

    /// A server without a process of its own: each verb fails and says why.
    pub(crate) fn without_process(why: &'static str) -> Server {
        Server { how: Err(why), process: Mutex::new(None) }
    }

    /// Starts it, on the port and the data that it had; returns when it answers. Nothing to do
    /// for one that runs.
    pub fn start(&self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let mut slot = self.lock();
        if let Some(process) = slot.as_ref()
            && process.ended()?.is_none()
        {
            return Ok(());
        }
        let process = spawn::background((recipe.command)(), &recipe.log)
            .with_context(|| format!("{} does not start", recipe.name))?;
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = process.ended()? {
                let log = last_lines(&recipe.log, 15);
                bail!("{} does not start ({status}):\n{log}", recipe.name);
            }
            // Only an answer from a server that still lives is its own, not a stranger's.
            let ready = (recipe.ready)();
            if ready.is_ok() && process.ended()?.is_none() {
                break;
            }
            if Instant::now() > deadline {
                let why = ready.err().map_or_else(String::new, |why| format!(": {why:#}"));
                let log = last_lines(&recipe.log, 15);
                bail!("{} does not answer within {START:?}{why}:\n{log}", recipe.name);
            }
            sleep(2 * STEP);
        }
        *slot = Some(process);
        Ok(())
    }

    /// Ends it in its orderly way, and waits; kills it where that takes too long.
    pub fn stop(&self) -> anyhow::Result<()> {
        let signal = self.recipe()?.stop;
        self.end(signal, STOP)
    }

    /// Kills it, and waits.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.recipe()?;
        match self.lock().take() {
            Some(process) => process.kill_tree(),
            None => Ok(()),
        }
    }

    /// Stops it from running (SIGSTOP), with all its processes; its connections stay open.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.running(|process| process.freeze())
    }

    /// Lets it run again after [`freeze`](Server::freeze).
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.running(|process| process.thaw())
    }

    /// [`stop`](Server::stop), then [`start`](Server::start).
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop()?;
        self.start()
    }

    /// Whether its process is there, frozen or not. What has no process cannot lose it: true.
    pub fn is_running(&self) -> bool {
        self.how.is_err() || self.lock().as_ref().is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    /// The number of its process, of PostgreSQL its first one; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Process::pid)
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
            let _ = self.end(recipe.discard, STOP);
        }
    }

    fn end(&self, signal: Signal, patience: Duration) -> anyhow::Result<()> {
        let Some(process) = self.lock().take() else {
            return Ok(());
        };
        // A frozen process takes no signal but these two.
        process.thaw()?;
        process.signal(signal)?;
        match process.wait(patience)? {
            Some(_) => Ok(()),
            None => process.kill_tree(),
        }
    }

    fn running(&self, act: impl Fn(&Process) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        match self.lock().as_ref() {
            Some(process) => act(process),
            None => bail!("{} is not running", recipe.name),
        }
    }

    fn recipe(&self) -> anyhow::Result<&Recipe> {
        self.how.as_ref().map_err(|why| anyhow::anyhow!(*why))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
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
