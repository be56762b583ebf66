//! The Docker engine: whether one answers, how to speak to it from here, and who removes containers
//! that their owner cannot remove any more.
//!
//! It is the one that testcontainers finds: `DOCKER_HOST`, else the usual sockets.

use std::future::Future;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::ListNetworksOptions;
use testcontainers::core::client::docker_client_instance;
use tokio::runtime::Runtime;

use crate::spawn;

const PATIENCE: Duration = Duration::from_secs(5);
/// Where the engine listens if nothing else is said. The `docker` command may have another one in its
/// configuration, which testcontainers does not read.
const USUAL: &str = "/var/run/docker.sock";

/// What matters of an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Engine {
    /// It has no network `bridge` to publish a container's ports from, so that containers listen on the
    /// host itself.
    pub(crate) on_host: bool,
}

/// The engine, asked once.
///
/// # Errors
/// None answers, or the command that cleans up is missing.
pub(crate) fn engine() -> anyhow::Result<Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let asked = ENGINE.get_or_init(|| work(ask()).map_err(|error| format!("{error:#}")));
    asked.clone().map_err(anyhow::Error::msg).context("no Docker engine to use")
}

async fn ask() -> anyhow::Result<Engine> {
    let docker = docker().await?;
    let networks = tokio::time::timeout(PATIENCE, docker.list_networks(None::<ListNetworksOptions>));
    let networks = networks.await.context("in time")??;
    docker_command()?;
    Ok(Engine { on_host: !networks.iter().any(|network| network.name.as_deref() == Some("bridge")) })
}

/// The engine's API, for what testcontainers has no call for.
pub(crate) async fn docker() -> anyhow::Result<Docker> {
    Ok(docker_client_instance().await?)
}

/// Does this and waits for it, on any thread: also on one of a caller's own runtime.
pub(crate) fn work<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = RUNTIME.get_or_init(build).as_ref().map_err(|error| anyhow::anyhow!("no runtime: {error}"))?;
    let (reply, answer) = channel();
    runtime.spawn(async move {
        let _ = reply.send(work.await);
    });
    answer.recv().context("what the engine was asked for panicked")?
}

/// Has the container of this name removed when this process is gone, however it went. Said before it is
/// made.
pub(crate) fn remove_in_the_end(name: &str) -> anyhow::Result<()> {
    static REAPER: OnceLock<Result<Mutex<Child>, String>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| reaper().map(Mutex::new).map_err(|error| format!("{error:#}")));
    let reaper = reaper.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut reaper = reaper.lock().unwrap_or_else(PoisonError::into_inner);
    let names = reaper.stdin.as_mut().context("it takes no names")?;
    writeln!(names, "{name}").context("who removes containers in the end is gone")
}

fn docker_command() -> anyhow::Result<PathBuf> {
    spawn::in_path("docker").context("the docker command is missing, which removes containers when we are killed")
}

/// Reads names until we are gone, and then removes these containers: once more after a while, for one
/// that was just being made. The shell that starts it ends at once, so that it is nobody's child: else
/// it would be killed with the whole family. A Ctrl-C is for us, too.
fn reaper() -> anyhow::Result<Child> {
    let script = "exec 3<&0
        { trap '' HUP INT TERM; names=$(cat <&3); [ -n \"$names\" ] || exit
          \"$0\" rm --force --volumes $names; sleep 10; \"$0\" rm --force --volumes $names
        } </dev/null >/dev/null 2>&1 &";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(docker_command()?).current_dir("/").process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    if std::env::var_os("DOCKER_HOST").is_none() && Path::new(USUAL).exists() {
        shell.env("DOCKER_HOST", format!("unix://{USUAL}"));
    }
    let mut shell = shell.spawn().context("cannot run sh")?;
    // `wait` would close its input.
    let names = shell.stdin.take();
    let status = shell.wait()?;
    ensure!(status.success(), "sh: {status}");
    shell.stdin = names;
    Ok(shell)
}
