//! `devstack exec` hands its servers and the exit code on, and ends when it is asked to.

use std::io::{BufRead as _, BufReader, Read as _};

use devstack::Endpoints;
use rustix::process::{Pid, Signal, kill_process};

use crate::helpers::{exec, folders, members};

#[test]
fn the_command_gets_the_servers_and_gives_the_exit_code() {
    let mut child = exec(&["sh", "-c", "echo \"$DEVSTACK\"; exit 7"]);
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let endpoints: Endpoints = serde_json::from_str(&output).unwrap();
    assert!(endpoints.redis_url.starts_with("redis://127.0.0.1:"));
    assert_eq!(folders(child.id()), 0);
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
