//! The binary itself, as it is deployed.

use std::fs::{File, read_to_string};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use devstack::Scope;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::app::SECRET;

/// Killed when dropped, so that a test that fails leaves nothing behind.
pub(crate) struct Binary {
    process: Child,
    log: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Binary {
    pub(crate) fn start(scope: &Scope) -> Self {
        Self::with(scope, &[("RUST_LOG", "debug")])
    }

    pub(crate) fn with(scope: &Scope, settings: &[(&str, &str)]) -> Self {
        Self::with_and_without(scope, settings, &[])
    }

    /// With these settings, and without those of the usual ones.
    pub(crate) fn with_and_without(scope: &Scope, settings: &[(&str, &str)], without: &[&str]) -> Self {
        let log = devstack::logs::file("api-service").unwrap();
        let file = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_api-service"));
        command.envs(scope.env()).env("JWT_SECRET", SECRET);
        command.env("DRAIN_DELAY", "0s");
        // On a busy machine Kafka may take longer than it has by default.
        command.env("REQUEST_TIMEOUT", "40s").env("KAFKA_MESSAGE_TIMEOUT", "30s");
        command.env("API_BIND", "127.0.0.1:0").env("OPS_BIND", "127.0.0.1:0");
        command.stdout(file.try_clone().unwrap()).stderr(file);
        command.envs(settings.iter().copied());
        for name in without {
            command.env_remove(name);
        }
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut binary = Self { process: command.spawn().unwrap(), log, address: nowhere, internal: nowhere };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let listening = binary.seen().iter().find_map(|line| listening(line));
            if let Some(addresses) = listening {
                (binary.address, binary.internal) = addresses;
                return binary;
            }
            assert!(binary.process.try_wait().unwrap().is_none(), "it ended: {:?}", binary.seen());
            assert!(Instant::now() < deadline, "it does not listen: {:?}", binary.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        read_to_string(&self.log).unwrap().lines().map(str::to_owned).collect()
    }

    /// A figure of its memory in KiB, as the kernel names it: `VmRSS`, or `VmHWM` for the peak.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    pub(crate) fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        // One that ends meanwhile has no name any more.
        let names = tasks.filter_map(|task| read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|found| found.trim_end() == name).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Ends it as an orchestrator does, and returns its status and all it has written.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        self.signal(Signal::TERM);
        let status = self.process.wait().unwrap().code();
        (status, self.seen())
    }
}

/// Where it listens, of the line that says so, in either format.
fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let address = |name: &str| match serde_json::from_str::<Value>(line) {
        Ok(line) if line["message"] == "listening" => line[name].as_str()?.parse().ok(),
        Ok(_) => None,
        Err(_) => line.split_once(&format!("listening {name}="))?.1.split(' ').next()?.parse().ok(),
    };
    let internal = || line.split_once(" internal=")?.1.split(' ').next()?.parse().ok();
    Some((address("address")?, address("internal").or_else(internal)?))
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
