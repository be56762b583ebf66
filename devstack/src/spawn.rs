//! Starts child processes so that none outlives this process.
//!
//! Every child runs under `setpriv --pdeathsig KILL`: the kernel kills it whenever this process dies. The
//! kernel treats the end of the *thread* that started a child as the parent's death, and test threads end.
//! So one thread that never ends starts all children.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context as _, ensure};

use crate::process::Process;

type Job = (Command, Sender<io::Result<Child>>);

/// The account that a server runs as, if it is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A command for `program` that dies with this process, and runs as `account` if there is one.
pub(crate) fn command(program: &Path, account: Option<Account>) -> Command {
    let Some(setpriv) = in_path("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]);
    if let Some(Account { uid, gid }) = account {
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
        command.arg("--clear-groups");
    }
    command.arg("--").arg(program);
    command
}

/// Starts a server or service without input and with all output appended to `log`. It has its own process
/// group, so that Ctrl-C in the terminal reaches only us, and we stop everything in the right order.
pub(crate) fn background(command: Command, log: &Path) -> anyhow::Result<Process> {
    let out = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    background_into(command, out.into())
}

pub(crate) fn background_into(mut command: Command, out: OwnedFd) -> anyhow::Result<Process> {
    let err = out.try_clone().context("cannot share the log's descriptor")?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    start(command)
}

/// Starts a command in the terminal's foreground, with our input, output and process group.
pub fn foreground(program: &OsStr, args: &[impl AsRef<OsStr>], env: &[(String, String)]) -> anyhow::Result<Process> {
    let mut command = command(Path::new(program), None);
    command.args(args).envs(env.iter().map(|(key, value)| (key, value)));
    start(command)
}

/// Runs a command to its end; returns its output, or an error with its error output if it failed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn start(command: Command) -> anyhow::Result<Process> {
    let what = format!("{command:?}");
    let (reply, answer) = channel();
    spawner().send((command, reply)).ok().context("the spawning thread is gone")?;
    let child =
        answer.recv().context("the spawning thread is gone")?.with_context(|| format!("cannot start {what}"))?;
    Ok(Process::new(child))
}

fn spawner() -> &'static Sender<Job> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        // The thread never ends, because the static keeps the sender.
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    })
}

/// The first executable of this name in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
