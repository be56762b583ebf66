//! An owner that is killed leaves no process behind, and its folder to the next one's tidying.

use std::io::{BufRead as _, BufReader};

use devstack::Stack;

use crate::helpers::{eventually, exec, folders, members};

#[test]
fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = exec(&["sh", "-c", "echo up; exec sleep 1000"]);
    let pid = owner.id();
    let mut line = String::new();
    let mut output = BufReader::new(owner.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let before = members(pid);
    assert!(before.len() >= 3, "{before:?}");

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("no process of a killed owner is left", || members(pid).is_empty());
    assert_eq!(folders(pid), 1);

    // Tidying comes with a process's first stack, and this process may have had its first.
    let next = exec(&["true"]).wait().unwrap();
    assert!(next.success());
    assert_eq!(folders(pid), 0);
}

#[test]
fn a_dropped_stack_leaves_nothing_behind() {
    let stack = Stack::start().unwrap();
    let pids = [stack.kafka.pid(), stack.postgres.pid(), stack.redis.pid()];
    drop(stack);
    for pid in pids.into_iter().flatten() {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
