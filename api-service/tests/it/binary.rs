//! The binary itself, as it is deployed.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use devstack::Scope;
use serde_json::Value;

use crate::app::SECRET;

/// Killed when dropped, so that a test that fails leaves nothing behind.
pub(crate) struct Binary {
    process: Child,
    log: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
    pub(crate) address: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Binary {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(scope: &Scope) -> Self {
        Self::with(scope, &[])
    }

    /// The same with more settings.
    pub(crate) fn with(scope: &Scope, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_api-service"));
        command.envs(scope.env()).env("JWT_SECRET", SECRET).env("RUST_LOG", "debug");
        command.env("API_BIND", "127.0.0.1:0").env("OPS_BIND", "127.0.0.1:0").stdout(Stdio::piped());
        command.envs(settings.iter().copied());
        let mut process = command.spawn().unwrap();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let log = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut binary = Self { process, log, seen: Vec::new(), address: nowhere, internal: nowhere };
        loop {
            let line = binary.log.next().expect("it ended").unwrap();
            let json: Value = serde_json::from_str(&line).unwrap();
            binary.seen.push(line);
            if json["message"] == "listening" {
                let address = |name: &str| json[name].as_str().unwrap().parse().unwrap();
                (binary.address, binary.internal) = (address("address"), address("internal"));
                return binary;
            }
        }
    }

    /// Ends it as an orchestrator does, and returns its status and all it has logged.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let rest: Vec<String> = self.log.by_ref().map(Result::unwrap).collect();
        self.seen.extend(rest);
        (self.process.wait().unwrap().code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
