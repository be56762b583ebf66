//! `devstack exec` passes its servers to the command, returns its exit code, and ends on a signal.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use devstack::Endpoints;
use rustix::process::{Pid, Signal, kill_process};

use crate::helpers::{exec, folders, members};

#[test]
fn the_command_gets_the_servers_and_gives_the_exit_code() {
    let mut devstack = Command::new(env!("CARGO_BIN_EXE_devstack"));
    devstack.args(["exec", "--servers", "processes", "--", "sh", "-c", "echo \"$PPID $DEVSTACK\"; exit 7"]);
    let output = devstack.output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8(output.stdout).unwrap();
    let (owner, endpoints) = said.split_once(' ').unwrap();
    let endpoints: Endpoints = serde_json::from_str(endpoints).unwrap();
    assert!(endpoints.redis_url.starts_with("redis://127.0.0.1:"));
    assert!(endpoints.kafka_secured.is_some());
    assert_eq!(folders(owner.parse().unwrap()), 0);
}

/// Its standard error when the servers are not available.
fn refusal(servers: &str, unset: &[&str]) -> String {
    let mut devstack = Command::new(env!("CARGO_BIN_EXE_devstack"));
    devstack.args(["exec", "--", "true"]).env("DEVSTACK_SERVERS", servers).env("DOCKER_HOST", "unix:///nowhere");
    for variable in unset {
        devstack.env(variable, "/nowhere");
    }
    let output = devstack.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn servers_that_cannot_be_had_are_refused_in_a_line() {
    let why = match cfg!(feature = "containers") {
        true => "the servers cannot be containers: ",
        false => "devstack was built without its feature `containers`\n",
    };
    let said = refusal("containers", &[]);
    assert!(said.starts_with(&format!("devstack: {why}")), "{said}");
    let said = refusal("container", &[]);
    assert!(said.contains("invalid value 'container'") && said.contains("processes, containers"), "{said}");
    let said = refusal("processes", &["PATH", "JAVA_HOME"]);
    assert!(said.contains("devstack: Java 17 or later is not installed (devstack/install does that)\n"), "{said}");
}

#[test]
fn asked_to_end_it_ends_the_command_and_the_servers() {
    // Without help the grandchild would outlive its parent.
    let mut child = exec(&["sh", "-c", "sleep 1001 & echo $!; wait"]);
    let pid = child.id();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let owner = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(owner, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(members(pid), Vec::<String>::new());
    assert_eq!(folders(pid), 0);
    let grandchild = std::fs::read_to_string(format!("/proc/{}/stat", line.trim()));
    assert!(grandchild.is_err() || grandchild.unwrap().contains(") Z "));
}
