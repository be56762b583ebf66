//! A child process, and signals to it.

use std::fs;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// The polling interval of waits, short enough not to delay a test noticeably.
pub(crate) const STEP: Duration = Duration::from_millis(5);

/// A child process. Its pid is not reused while it can be signalled: signals are sent under the lock
/// under which it is reaped.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    child: Mutex<Child>,
}

impl Process {
    pub(crate) fn new(child: Child) -> Process {
        Process { pid: child.id(), child: Mutex::new(child) }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let mut child = self.lock();
        if child.try_wait()?.is_none() {
            send(self.pid, signal)?;
        }
        Ok(())
    }

    pub fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10))?.context("it does not end, not even when killed")?;
        Ok(())
    }

    pub fn ended(&self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.lock().try_wait()?)
    }

    /// Waits for its end for this time; `None` if it still runs.
    pub fn wait(&self, timeout: Duration) -> anyhow::Result<Option<ExitStatus>> {
        asked(timeout, STEP, || self.ended())
    }

    /// Freezes it and all its descendants; the parent first, so that it cannot start more.
    pub fn freeze(&self) -> anyhow::Result<()> {
        if self.ended()?.is_some() {
            return Ok(()); // its pid may have been reused
        }
        self.signal(Signal::STOP)?;
        settle(self.pid);
        for pid in descendants(self.pid) {
            send(pid, Signal::STOP)?;
            settle(pid);
        }
        Ok(())
    }

    /// Resumes it and all its descendants.
    pub fn thaw(&self) -> anyhow::Result<()> {
        if self.ended()?.is_some() {
            return Ok(()); // its pid may have been reused
        }
        for pid in descendants(self.pid) {
            send(pid, Signal::CONT)?;
        }
        self.signal(Signal::CONT)
    }

    /// Kills it and all its descendants at once, like a crash of the machine, and waits.
    pub(crate) fn kill_tree(&self) -> anyhow::Result<()> {
        if self.ended()?.is_some() {
            return Ok(()); // its pid may have been reused
        }
        self.freeze()?;
        let below = descendants(self.pid);
        for pid in &below {
            send(*pid, Signal::KILL)?;
        }
        self.kill()?;
        let all_ended = || Ok(below.iter().all(|pid| !alive(*pid)).then_some(()));
        asked(Duration::from_secs(10), STEP, all_ended)?.context("a child of it does not end")
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill_tree();
    }
}

/// Sends a signal; it is not an error if the process has already gone.
pub(crate) fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot send a signal"),
    }
}

/// A process and its descendants, each identified by pid and start time, since a pid may be reused.
#[derive(Debug)]
pub struct Family(Vec<(u32, u64)>);

pub fn family(pid: u32) -> Family {
    let members = std::iter::once(pid).chain(descendants(pid));
    Family(members.filter_map(|pid| Some((pid, stat(pid)?.started))).collect())
}

/// Sends SIGTERM or SIGKILL to the remaining processes of a family.
pub fn tell_family(family: &Family, kill: bool) {
    let signal = if kill { Signal::KILL } else { Signal::TERM };
    for (pid, started) in &family.0 {
        if stat(*pid).is_some_and(|stat| stat.started == *started) {
            let _ = send(*pid, signal);
        }
    }
}

/// Its running descendants.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let everyone = everyone();
    let mut found = vec![];
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for stat in everyone.iter().filter(|stat| stat.parent == parent) {
            if !found.contains(&stat.pid) {
                found.push(stat.pid);
                parents.push(stat.pid);
            }
        }
    }
    found
}

/// The relevant fields of `/proc/PID/stat`.
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) state: char,
    pub(crate) parent: u32,
    /// The start time in clock ticks since boot; with the pid it identifies a process uniquely.
    pub(crate) started: u64,
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain any character, so parse after its end.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some(Stat {
        pid,
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        started: fields.nth(17)?.parse().ok()?,
    })
}

pub(crate) fn everyone() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat).collect()
}

/// The pid and start time of this process.
pub(crate) fn this() -> (u32, u64) {
    let pid = std::process::id();
    (pid, stat(pid).map_or(0, |stat| stat.started))
}

/// Whether the owner in a name has ended: the name is `pid-start`, possibly with more after another dash.
pub(crate) fn owner_is_dead(name: &str) -> bool {
    let mut parts = name.split('-').map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(started))) = (parts.next(), parts.next()) else { return false };
    u32::try_from(pid).ok().and_then(stat).is_none_or(|stat| stat.started != started)
}

/// Whether it runs; a zombie does not.
fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Waits until SIGSTOP has taken effect, which is not immediate.
fn settle(pid: u32) {
    let is_stopped = || Ok(stat(pid).is_none_or(|stat| matches!(stat.state, 'T' | 't' | 'Z' | 'X')).then_some(()));
    let _ = asked(Duration::from_secs(1), Duration::from_millis(1), is_stopped);
}

/// Polls for an answer until the timeout; the last attempt is after the timeout.
pub fn asked<T>(
    timeout: Duration,
    step: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let deadline = Instant::now() + timeout;
    loop {
        let is_last = Instant::now() >= deadline;
        let answer = ask()?;
        if answer.is_some() || is_last {
            return Ok(answer);
        }
        sleep(step);
    }
}
