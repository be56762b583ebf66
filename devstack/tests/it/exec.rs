//! `devstack exec` hands its servers and the exit code on, and ends when it is asked to.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use devstack::Endpoints;
use rustix::process::{Pid, Signal, kill_process};

use crate::helpers::{exec, folders, members};

/// With the mock, which is announced: what the tests of a whole run get is what they are run with.
#[test]
fn the_command_gets_the_servers_and_gives_the_exit_code() {
    let mut devstack = Command::new(env!("CARGO_BIN_EXE_devstack"));
    devstack.args(["exec", "--", "sh", "-c", "echo \"$PPID $DEVSTACK\"; exit 7"]);
    let output = devstack.env("DEVSTACK_KAFKA", "mock").env("DEVSTACK_SERVERS", "processes").output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        errors.lines().next().unwrap(),
        "devstack: DEVSTACK_KAFKA=mock: Kafka is librdkafka's in-process mock, in memory; nothing \
         survives a restart"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let (owner, endpoints) = said.split_once(' ').unwrap();
    let endpoints: Endpoints = serde_json::from_str(endpoints).unwrap();
    assert!(endpoints.redis_url.starts_with("redis://127.0.0.1:"));
    assert!(!endpoints.kafka_is_real && endpoints.kafka_secured.is_none());
    assert_eq!(folders(owner.parse().unwrap()), 0);
}

#[test]
fn asked_to_end_it_ends_the_command_and_the_servers() {
    // The grandchild would outlive its parent.
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
