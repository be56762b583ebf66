//! A server as a child process of ours. One verb at a time comes to it (see `server`).

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use rustix::process::Signal;

use crate::process::Process;
use crate::server::STOP;
use crate::spawn;

/// How its process is started and ended, and the process while there is one.
pub(crate) struct Child {
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    pub(crate) stop: Signal,
    /// The signal for the quickest end that leaves nothing outside its data directory.
    pub(crate) discard: Signal,
    pub(crate) process: Mutex<Option<Process>>,
}

impl Child {
    /// Starts it, with the port and the data that it had; what it writes goes to `log`. Does not wait for it
    /// to answer.
    pub(crate) fn start(&self, log: &Path) -> anyhow::Result<()> {
        let process = spawn::background((self.command)(), log)?;
        *self.process() = Some(process);
        Ok(())
    }

    /// How it ended; nothing while it is there, frozen or not.
    pub(crate) fn ended(&self) -> anyhow::Result<Option<String>> {
        match self.process().as_ref() {
            Some(process) => Ok(process.ended()?.map(|status| status.to_string())),
            None => Ok(Some("it is not running".to_owned())),
        }
    }

    /// Ends it in its orderly way, and waits; kills it where that takes longer than [`STOP`].
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.end(self.stop)
    }

    /// Kills all of it, and waits.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        match self.process().take() {
            Some(process) => process.kill_tree(),
            None => Ok(()),
        }
    }

    /// Stops all of it from running.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.told(Process::freeze)
    }

    /// Lets it run again.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.told(Process::thaw)
    }

    /// Ends it in the quickest way that leaves nothing behind.
    pub(crate) fn discard(&self) -> anyhow::Result<()> {
        self.end(self.discard)
    }

    /// The number of its first process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    fn end(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(process) = self.process().take() else {
            return Ok(());
        };
        // A frozen process takes no signal but these two.
        process.thaw()?;
        process.signal(signal)?;
        match process.wait(STOP)? {
            Some(_) => Ok(()),
            None => process.kill_tree(),
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, act: impl FnOnce(&Process) -> anyhow::Result<()>) -> anyhow::Result<()> {
        act(self.process().as_ref().context("it is not running")?)
    }
}
