//! A killed owner leaves no process behind, and the next one removes its folder.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::helpers::{eventually, folders_in, members};

/// A copy of `devstack` whose data no other process cleans up: devstack puts its data beside its executable.
struct Alone(PathBuf);

impl Alone {
    fn new() -> Self {
        let folder = devstack::target_dir().join("tmp").join(format!("alone-{}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("devstack")).unwrap();
        fs::write(folder.join("CACHEDIR.TAG"), "").unwrap();
        fs::copy(env!("CARGO_BIN_EXE_devstack"), folder.join("bin/devstack")).unwrap();
        // Share Kafka's jars and archives.
        for entry in fs::read_dir(devstack::target_dir().join("devstack")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("kafka-") {
                std::os::unix::fs::symlink(entry.path(), folder.join("devstack").join(entry.file_name())).unwrap();
            }
        }
        Self(folder)
    }

    fn exec(&self, command: &[&str]) -> Command {
        let mut devstack = Command::new(self.0.join("bin/devstack"));
        devstack.args(["exec", "--"]).args(command).stdin(Stdio::null()).stdout(Stdio::piped());
        devstack
    }

    fn folders(&self, owner: u32) -> usize {
        folders_in(&self.0.join("devstack"), owner)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_killed_owner_leaves_nothing_behind() {
    let alone = Alone::new();
    let mut owner = alone.exec(&["sh", "-c", "echo up; exec sleep 1000"]).spawn().unwrap();
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
    assert_eq!(alone.folders(pid), 1);

    // A process cleans up when it starts its first stack.
    let next = alone.exec(&["true"]).status().unwrap();
    assert!(next.success());
    assert_eq!(alone.folders(pid), 0);
}
