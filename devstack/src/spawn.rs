//! Starting child processes so that none outlives us.
//!
//! Every child runs under `setpriv --pdeathsig KILL`: when we die, however suddenly, the kernel
//! kills it. The kernel takes the death of the *thread* that started it for the parent's death,
//! and tests run on threads that end, so one thread that never ends starts them all.

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

/// Whom a server runs as, where that is not us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `program` as a command that dies with us, run as `account` where one is given.
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

/// Starts a server or service: no input, all output appended to `log`, in a process group of its
/// own, so that a Ctrl-C in the terminal reaches us alone and we end things in their order.
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

/// Starts a command in the terminal's foreground: our input and output, our process group.
pub fn foreground(program: &OsStr, args: &[impl AsRef<OsStr>], env: &[(String, String)]) -> anyhow::Result<Process> {
    let mut command = command(Path::new(program), None);
    command.args(args).envs(env.iter().map(|(key, value)| (key, value)));
    start(command)
}

/// Runs a command to its end; gives what it wrote, or, where it failed, an error with its complaint.
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
        // Never joined and never ending: the static keeps the sender.
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
