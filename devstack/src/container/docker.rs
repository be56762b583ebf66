//! A server as a container of an official image, through testcontainers.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use testcontainers::bollard::models::ContainerState;
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::{CmdWaitFor, ContainerPort, ExecCommand};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _};
use tokio::task::JoinHandle;

use super::Plan;
use super::engine::{self, docker, engine};
use crate::server::{Body, START, STOP};

/// As in `docker-compose.yml`: PostgreSQL takes more than the 64 MiB that a container has.
const SHARED_MEMORY: u64 = 128 << 20;
/// For what needs no time.
const SOON: Duration = Duration::from_secs(10);

/// One container, from its first start to its removal. Dropped, it is removed with its data.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    plan: Plan,
    /// There from its first start on, running or not.
    made: Option<Arc<ContainerAsync<GenericImage>>>,
    /// Another plan than the one that it was made from.
    is_outdated: bool,
    /// How many were made.
    count: u32,
    /// Copies what it writes.
    copy: Option<JoinHandle<()>>,
}

impl Container {
    /// It is not started yet.
    #[expect(clippy::unnecessary_wraps, reason = "without the feature `containers` there is none")]
    pub(crate) fn new(plan: Plan) -> anyhow::Result<Container> {
        let name = format!("devstack-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let inside = Inside { plan, made: None, is_outdated: false, count: 0, copy: None };
        Ok(Container { name, inside: Mutex::new(inside) })
    }

    /// Has it made anew at its next start, from the plan as it is then, with the data that it has.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Plan)) {
        let mut inside = self.inside();
        change(&mut inside.plan);
        inside.is_outdated = true;
    }

    /// Runs a command inside, as the server's user.
    ///
    /// # Errors
    /// It failed: what it said.
    pub(crate) fn run(&self, command: Vec<String>) -> anyhow::Result<()> {
        let container = self.inside().made()?;
        let done = "devstack: done\n";
        let shell = ["sh", "-c", "\"$@\" 2>&1 && echo devstack: done", "sh"].map(str::to_owned);
        engine::work(async move {
            let command =
                ExecCommand::new(shell.into_iter().chain(command)).with_cmd_ready_condition(CmdWaitFor::exit());
            let said = container.exec(command).await?.stdout_to_vec().await?;
            let said = String::from_utf8_lossy(&said);
            ensure!(said.ends_with(done), "{}", said.trim());
            Ok(())
        })
    }

    /// The name that another container's network can be had by.
    pub(crate) fn network(&self) -> anyhow::Result<String> {
        Ok(format!("container:{}", self.inside().made()?.id()))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is; nothing where there is none.
    fn state(&self) -> anyhow::Result<Option<ContainerState>> {
        match self.inside().made.clone() {
            Some(container) => engine::work(async move { state(&container).await.map(Some) }),
            None => Ok(None),
        }
    }

    /// Does this to it, awake: what is paused takes no signal.
    fn end<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
        &self,
        how: impl FnOnce(Arc<ContainerAsync<GenericImage>>) -> F + Send + 'static,
    ) -> anyhow::Result<()> {
        let Some(container) = self.inside().made.clone() else { return Ok(()) };
        engine::work(async move {
            let now = state(&container).await?;
            if now.paused == Some(true) {
                container.unpause().await?;
            }
            if now.running == Some(true) {
                how(Arc::clone(&container)).await?;
            }
            let deadline = Instant::now() + SOON;
            while state(&container).await?.running == Some(true) {
                ensure!(Instant::now() < deadline, "it does not end, not even when killed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
    }
}

impl Inside {
    fn made(&self) -> anyhow::Result<Arc<ContainerAsync<GenericImage>>> {
        self.made.clone().context("it is not running")
    }
}

impl Body for Container {
    fn start(&self, log: &Path) -> anyhow::Result<()> {
        let mut inside = self.inside();
        match inside.made.clone() {
            Some(container) if !inside.is_outdated => {
                engine::work(async move { Ok(container.start().await?) })?;
            }
            before => {
                inside.count += 1;
                let name = format!("{}-{}", self.name, inside.count);
                engine::remove_in_the_end(&name)?;
                let request = request(&inside.plan, &name, before.as_ref().map(|container| container.id()))?;
                let image = inside.plan.image;
                let made = engine::work(async move {
                    pull(image).await?;
                    Ok(request.start().await?)
                });
                // One that was made and does not start is nobody's.
                let made = made.inspect_err(|_| drop(engine::work(remove(name))))?;
                inside.made = Some(Arc::new(made));
                inside.is_outdated = false;
                if let Some(before) = before {
                    engine::work(removed(before))?;
                }
            }
        }
        let (id, log) = (inside.made()?.id().to_owned(), log.to_owned());
        inside.copy = Some(engine::work(async { Ok(tokio::spawn(copy(id, log))) })?);
        Ok(())
    }

    fn ended(&self) -> anyhow::Result<Option<String>> {
        let Some(state) = self.state()? else { return Ok(Some("it was not started".to_owned())) };
        if state.running == Some(true) {
            return Ok(None);
        }
        // What it wrote last says why.
        if let Some(copy) = self.inside().copy.take() {
            engine::work(async { Ok(tokio::time::timeout(SOON, copy).await) }).ok();
        }
        Ok(Some(format!("exit code {}", state.exit_code.unwrap_or_default())))
    }

    /// By the signal that the image names.
    fn stop(&self) -> anyhow::Result<()> {
        let patience = i32::try_from(STOP.as_secs())?;
        self.end(move |container| async move { Ok(container.stop_with_timeout(Some(patience)).await?) })
    }

    fn kill(&self) -> anyhow::Result<()> {
        self.end(|container| async move {
            let how = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
            Ok(docker().await?.kill_container(container.id(), Some(how)).await?)
        })
    }

    fn freeze(&self) -> anyhow::Result<()> {
        let container = self.inside().made()?;
        engine::work(async move { Ok(container.pause().await?) })
    }

    fn thaw(&self) -> anyhow::Result<()> {
        let container = self.inside().made()?;
        engine::work(async move {
            // That it is not paused is an error to the engine, and to nobody else.
            if state(&container).await?.paused == Some(true) {
                container.unpause().await?;
            }
            Ok(())
        })
    }

    fn discard(&self) -> anyhow::Result<()> {
        match self.inside().made.take() {
            Some(container) => engine::work(removed(container)),
            None => Ok(()),
        }
    }

    /// The engine's number is this machine's where the process of this number says that it is in the
    /// container: another machine's, a virtual one's, is not.
    fn pid(&self) -> Option<u32> {
        let pid = u32::try_from(self.state().ok()??.pid?).ok()?;
        let id = self.inside().made().ok()?.id().to_owned();
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?.contains(&id).then_some(pid)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.discard();
    }
}

/// A container of this name, with the data of another one where it follows upon that.
fn request(plan: &Plan, name: &str, data_of: Option<&str>) -> anyhow::Result<ContainerRequest<GenericImage>> {
    let mut request = GenericImage::new(plan.image.0, plan.image.1)
        .with_container_name(name)
        .with_label("devstack", std::process::id().to_string())
        .with_shm_size(SHARED_MEMORY)
        .with_startup_timeout(START)
        .with_cmd(&plan.command);
    for (key, value) in &plan.env {
        request = request.with_env_var(key, value);
    }
    for (path, content) in &plan.files {
        request = request.with_copy_to(*path, content.clone());
    }
    if let Some(network) = &plan.beside {
        request = request.with_network(network);
    } else if engine()?.on_host {
        request = request.with_network("host");
    } else {
        for (port, inside) in &plan.ports {
            request = request.with_mapped_port(*port, ContainerPort::Tcp(*inside));
        }
    }
    let data_of = data_of.map(|id| vec![id.to_owned()]);
    Ok(request.with_host_config_modifier(move |host| {
        host.volumes_from.clone_from(&data_of);
        host.publish_all_ports = None;
        // Nobody else's business: they trust whoever comes.
        for binding in host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut()).flatten().flatten() {
            binding.host_ip = Some("127.0.0.1".to_owned());
        }
    }))
}

async fn state(container: &ContainerAsync<GenericImage>) -> anyhow::Result<ContainerState> {
    let found = docker().await?.inspect_container(container.id(), None::<InspectContainerOptions>).await?;
    found.state.context("the engine does not say how the container is")
}

/// testcontainers does this by itself, and says nothing for as long as it takes.
async fn pull((name, tag): (&str, &str)) -> anyhow::Result<()> {
    if docker().await?.inspect_image(&format!("{name}:{tag}")).await.is_err() {
        eprintln!("devstack: pulling {name}:{tag}");
        let _pulled = GenericImage::new(name, tag).pull_image().await?;
    }
    Ok(())
}

/// Removes it with its data; with what it shares only if it was the last to have it.
async fn removed(container: Arc<ContainerAsync<GenericImage>>) -> anyhow::Result<()> {
    match Arc::into_inner(container) {
        Some(container) => Ok(container.rm().await?),
        // Somebody is about to do something to it: it goes with that.
        None => Ok(()),
    }
}

async fn remove(name: String) -> anyhow::Result<()> {
    let how = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    Ok(docker().await?.remove_container(&name, Some(how)).await?)
}

/// Writes to `log` what it wrote since it was made, in all its runs, and goes on until it ends.
async fn copy(id: String, log: PathBuf) {
    let how = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).tail("all").build();
    let copied = async {
        let mut file = File::create(&log)?;
        let mut written = docker().await?.logs(&id, Some(how));
        while let Some(piece) = written.next().await {
            file.write_all(&piece?.into_bytes())?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = copied.await {
        eprintln!("devstack: {}: {error:#}", log.display());
    }
}
