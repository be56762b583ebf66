//! Servers as containers of the official images, by the `docker` command: a container that runs in
//! its foreground is a process like any other here.
//!
//! What is done to one goes to the engine instead of the process: it, and not the command, is above
//! the server. Nor do containers die with the command that started them, so whatever of ours is left
//! is removed by a shell that waits for our end.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use crate::spawn;

/// `postgres` as `docker-compose.yml` has it.
pub(crate) const POSTGRES: &str = "postgres:17.11-bookworm";
/// `redis`, likewise.
pub(crate) const REDIS: &str = "redis:7.4.11-bookworm";
/// Kafka, of the version that `kafka/pom.xml` pins.
pub(crate) const KAFKA: &str = "apache/kafka:4.3.1";

/// Whether servers are to be containers: `DEVSTACK_SERVERS=containers`.
pub(crate) fn wanted() -> bool {
    std::env::var("DEVSTACK_SERVERS").is_ok_and(|servers| servers == "containers")
}

/// One container, from its first start to its removal.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    /// What `docker run` is told, from the published port to the command.
    run: Vec<String>,
    made: AtomicBool,
}

impl Container {
    /// One of `image` that publishes `port` on 127.0.0.1 as its own `inside`.
    pub(crate) fn new(
        image: &str,
        (port, inside): (u16, u16),
        env: &[(String, String)],
        command: &[&str],
    ) -> anyhow::Result<Container> {
        let owner = owner()?;
        let name = format!("{owner}-{port}");
        let mut run = vec![format!("--publish=127.0.0.1:{port}:{inside}"), format!("--label=devstack={owner}")];
        run.extend(env.iter().map(|(key, value)| format!("--env={key}={value}")));
        run.push(image.to_owned());
        run.extend(command.iter().map(|&word| word.to_owned()));
        Ok(Container { name, run, made: AtomicBool::new(false) })
    }

    /// Runs it in the foreground; after the first time, the same one again, with its data.
    pub(crate) fn command(&self) -> Command {
        let mut command = docker();
        if self.made.swap(true, Ordering::Relaxed) {
            command.args(["start", "--attach", &self.name]);
        } else {
            command.args(["run", "--name", &self.name]).args(&self.run);
        }
        command
    }

    /// Stops it from running, with all that is in it.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.tell(&["pause"])
    }

    /// Lets it run again; nothing to do for one that does.
    pub(crate) fn unpause(&self) {
        // That it is not paused is an error to docker, and to nobody else.
        let _ = self.tell(&["unpause"]);
    }

    /// Sends its first process a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Docker kills no container that is paused.
        self.unpause();
        let signal = format!("--signal={}", signal.as_raw());
        self.tell(&["kill", &signal])
    }

    /// Removes it, with its data.
    pub(crate) fn remove(&self) {
        let _ = self.tell(&["rm", "--force", "--volumes"]);
    }

    fn tell(&self, verb: &[&str]) -> anyhow::Result<()> {
        let output = docker().args(verb).arg(&self.name).stdin(Stdio::null()).output().context("cannot run docker")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "docker {}: {}", verb.join(" "), said.trim());
        Ok(())
    }
}

fn docker() -> Command {
    static DOCKER: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    match DOCKER.get_or_init(|| spawn::in_path("docker")) {
        Some(docker) => spawn::command(docker, None),
        None => Command::new("docker"),
    }
}

/// The name of this process among those that have containers. The first to ask starts the shell that
/// removes them when this process is gone, however it went: then its input ends.
fn owner() -> anyhow::Result<&'static str> {
    static OWNER: OnceLock<Result<(String, Child), String>> = OnceLock::new();
    let owner = OWNER.get_or_init(|| {
        let owner = format!("devstack-{}-{:08x}", std::process::id(), fastrand::u32(..));
        // Out of reach of a Ctrl-C, and of what ends all our children with us.
        let remove = format!(
            "trap '' INT TERM HUP; cat >/dev/null; \
             docker ps --all --quiet --filter label=devstack={owner} | xargs -r docker rm --force --volumes >/dev/null"
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &remove]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        shell.spawn().map(|shell| (owner, shell)).map_err(|error| error.to_string())
    });
    owner.as_ref().map(|(owner, _)| owner.as_str()).map_err(|error| anyhow::anyhow!("cannot run sh: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka;

    #[test]
    fn the_images_are_those_of_compose_and_kafka_is_the_one_that_is_run_without() {
        let compose = include_str!("../../docker-compose.yml");
        for image in [POSTGRES, REDIS, KAFKA] {
            assert!(compose.contains(&format!("image: {image}\n")), "{image}");
        }
        assert_eq!(KAFKA, format!("apache/kafka:{}", kafka::version()));
    }
}
