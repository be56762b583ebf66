//! A server as a child process of ours.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use rustix::process::Signal;

use crate::process::Process;
use crate::server::{Body, STOP};
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

impl Body for Child {
    fn start(&self, log: &Path) -> anyhow::Result<()> {
        let process = spawn::background((self.command)(), log)?;
        *self.process() = Some(process);
        Ok(())
    }

    fn ended(&self) -> anyhow::Result<Option<String>> {
        match self.process().as_ref() {
            Some(process) => Ok(process.ended()?.map(|status| status.to_string())),
            None => Ok(Some("it is not running".to_owned())),
        }
    }

    fn stop(&self) -> anyhow::Result<()> {
        self.end(self.stop)
    }

    fn kill(&self) -> anyhow::Result<()> {
        match self.process().take() {
            Some(process) => process.kill_tree(),
            None => Ok(()),
        }
    }

    fn freeze(&self) -> anyhow::Result<()> {
        self.told(Process::freeze)
    }

    fn thaw(&self) -> anyhow::Result<()> {
        self.told(Process::thaw)
    }

    fn discard(&self) -> anyhow::Result<()> {
        self.end(self.discard)
    }

    fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }
}
