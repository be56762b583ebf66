//! A worker in a process of its own.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use devstack::{Program, Service};

use super::Kit;

impl Kit {
    /// A worker as a process of its own, which can be frozen and killed.
    pub(crate) async fn process(&self) -> Process {
        self.process_with(&[]).await
    }

    /// The same with more settings.
    pub(crate) async fn process_with(&self, more: &[(&str, &str)]) -> Process {
        let ops = format!("127.0.0.1:{}", devstack::port::free());
        let mut env = self.scope.env();
        env.extend([("OPS_BIND".into(), ops.clone()), ("REDIS_TIMEOUT".into(), "2s".into())]);
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        // They stay, for whoever wants to know why a test failed.
        let logs = devstack::target_dir().join("worker-logs");
        let log = logs.join(format!("{}-{}.log", self.scope.group, ops.replace(':', "-")));
        let start = move || {
            std::fs::create_dir_all(logs).unwrap();
            Service::spawn(Program::Worker, &["run"], &env, &log).unwrap()
        };
        Process { service: tokio::task::spawn_blocking(start).await.unwrap(), ops }
    }
}

/// A worker in a process of its own.
pub(crate) struct Process {
    pub(crate) service: Service,
    ops: String,
}

impl Process {
    /// A page of its internal port; empty while there is none.
    pub(crate) async fn page(&self, path: &str) -> String {
        let (ops, request) = (self.ops.clone(), format!("GET {path} HTTP/1.0\r\n\r\n"));
        let read = move || -> std::io::Result<String> {
            let mut stream = std::net::TcpStream::connect(ops)?;
            stream.write_all(request.as_bytes())?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        };
        tokio::task::spawn_blocking(read).await.unwrap().unwrap_or_default()
    }

    /// What it says of itself; null while there is nothing.
    pub(crate) async fn health(&self) -> serde_json::Value {
        let page = self.page("/health/ready").await;
        page.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    /// What it holds in memory, in MiB.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// What it held at most.
    pub(crate) fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.service.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
    }

    /// SIGTERM; gives how long it took to end, which it has to do in order.
    pub(crate) async fn end(self) -> Duration {
        let asked = Instant::now();
        self.end_and_log().await;
        asked.elapsed()
    }

    /// The same; gives what it logged.
    pub(crate) async fn end_and_log(self) -> String {
        self.service.terminate().unwrap();
        let end = move || (self.service.wait(Duration::from_secs(25)), self.service.log());
        let (status, log) = tokio::task::spawn_blocking(end).await.unwrap();
        assert!(status.unwrap().success(), "{log}");
        log
    }
}
