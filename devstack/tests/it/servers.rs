//! What the servers are, and that the first line says so.

use std::process::{Command, Output};

use crate::helpers::{containers, in_containers};

fn exec(servers: &str, command: &[&str]) -> Output {
    let mut devstack = Command::new(env!("CARGO_BIN_EXE_devstack"));
    devstack.args(["exec", "--"]).args(command).env("DEVSTACK_SERVERS", servers).env_remove("DEVSTACK_KAFKA");
    devstack.output().unwrap()
}

fn first_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_unknown_kind_is_refused() {
    let output = exec("container", &["true"]);
    assert!(!output.status.success());
    assert_eq!(first_line(&output), "devstack: DEVSTACK_SERVERS is processes or containers, not container");
}

#[test]
fn containers_without_an_engine_are_refused() {
    let mut devstack = Command::new(env!("CARGO_BIN_EXE_devstack"));
    devstack.args(["exec", "--", "true"]);
    let output = devstack.env("DEVSTACK_SERVERS", "containers").env("DOCKER_HOST", "unix:///nowhere").output().unwrap();
    assert!(!output.status.success());
    let line = first_line(&output);
    let why = if cfg!(feature = "containers") {
        "no Docker engine to use: "
    } else {
        "devstack was built without its feature `containers`"
    };
    assert!(line.starts_with(&format!("devstack: DEVSTACK_SERVERS=containers: {why}")), "{line}");
}

#[test]
fn they_are_containers_of_the_official_images() {
    if !in_containers() {
        return eprintln!("they_are_containers_of_the_official_images runs with DEVSTACK_SERVERS=containers only");
    }
    // The parent of the command is who owns the containers.
    let output =
        exec("containers", &["sh", "-c", "echo $PPID; docker ps --format '{{.Image}}' -f label=devstack=$PPID"]);
    assert_eq!(
        first_line(&output),
        "devstack: DEVSTACK_SERVERS=containers: Kafka, PostgreSQL and Redis are containers"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let (owner, images) = said.split_once('\n').unwrap();
    let mut images: Vec<_> = images.lines().collect();
    images.sort_unstable();
    assert_eq!(images, ["apache/kafka:4.3.1", "postgres:17.11-bookworm", "redis:7.4.11-bookworm"]);
    assert_eq!(containers(owner.parse().unwrap()), Vec::<String>::new(), "they end with their owner");
}
