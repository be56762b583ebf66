//! Our own binaries.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use devstack::runbook::{Fault, Said};
use devstack::{LogReader, Program, Scope, Service, port};
use reqwest::Response;
use serde_json::Value;

use super::{PATIENCE, SECRET, System, blocking, owned};

impl System {
    pub(crate) fn another_api(&self) -> Api {
        self.another_api_with(&[])
    }

    pub(crate) fn another_api_with(&self, more: &[(&str, &str)]) -> Api {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        Api::spawn(&self.scope, &self.with(more), &self.logs.join(format!("api-{number}.log")))
    }

    /// One whose log this one reads, or does not.
    pub(crate) fn api_read_by(&self, reader: &LogReader, more: &[(&str, &str)]) -> Api {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("api-{number}.log"));
        Api::start(&self.scope, &self.with(more), |env| Service::spawn_read_by(reader, Program::Api, &[], env, &log))
    }

    fn with(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        self.settings.iter().cloned().chain(owned(more)).collect()
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    pub(crate) fn worker_with(&self, more: &[(&str, &str)]) -> Worker {
        self.start_worker(more, |env, log| Service::spawn(Program::Worker, &["run"], env, log))
    }

    /// One whose log this one reads, or does not.
    pub(crate) fn worker_read_by(&self, reader: &LogReader, more: &[(&str, &str)]) -> Worker {
        self.start_worker(more, |env, log| Service::spawn_read_by(reader, Program::Worker, &["run"], env, log))
    }

    fn start_worker(
        &self,
        more: &[(&str, &str)],
        spawn: impl Fn(&[(String, String)], &Path) -> anyhow::Result<Service>,
    ) -> Worker {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let ops = format!("127.0.0.1:{}", port::free());
        let mut env = env(&self.scope, &self.with(more));
        env.extend(owned(&[("OPS_BIND", &ops)]));
        let service = spawn(&env, &self.logs.join(format!("worker-{number}.log"))).unwrap();
        Worker { service, ops: format!("http://{ops}"), http: self.http.clone() }
    }

    /// Starts a command of the worker's binary, whose log this one reads, or does not.
    pub(crate) fn command_read_by(&self, reader: &LogReader, args: &[&str]) -> Service {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("command-{number}.log"));
        Service::spawn_read_by(reader, Program::Worker, args, &env(&self.scope, &self.settings), &log).unwrap()
    }

    /// Runs a command of the worker's binary to its end: whether it was a success, and what it wrote.
    pub(crate) async fn command(&self, args: &[&str], more: &[(&str, &str)]) -> (bool, String) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("command-{number}.log"));
        let service = Service::spawn(Program::Worker, args, &env(&self.scope, &self.with(more)), &log).unwrap();
        blocking(move || (service.wait(PATIENCE).unwrap().success(), service.log())).await
    }
}

pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) base: String,
    pub(crate) ops: String,
}

impl Api {
    pub(super) fn spawn(scope: &Scope, settings: &[(String, String)], log: &Path) -> Self {
        Self::start(scope, settings, |env| Service::spawn(Program::Api, &[], env, log))
    }

    fn start(
        scope: &Scope,
        settings: &[(String, String)],
        spawn: impl Fn(&[(String, String)]) -> anyhow::Result<Service>,
    ) -> Self {
        let bind = format!("127.0.0.1:{}", port::free());
        let ops = format!("127.0.0.1:{}", port::free());
        let mut all = owned(&[("API_BIND", &bind), ("OPS_BIND", &ops), ("JWT_SECRET", SECRET)]);
        all.extend(env(scope, settings));
        let service = spawn(&all).unwrap();
        Self { service, base: format!("http://{bind}"), ops: format!("http://{ops}") }
    }
}

pub(crate) struct Worker {
    pub(crate) service: Service,
    ops: String,
    http: reqwest::Client,
}

impl Worker {
    /// What it says of its readiness.
    pub(crate) async fn status(&self) -> String {
        self.health().await.map_or("away".into(), |body| body["status"].as_str().unwrap().to_owned())
    }

    /// All that it says of its readiness; nothing while it does not answer.
    pub(crate) async fn health(&self) -> Option<Value> {
        Some(self.page("/health/ready").await.ok()?.json().await.unwrap())
    }

    /// The status of its liveness.
    pub(crate) async fn live(&self) -> u16 {
        self.page("/health/live").await.unwrap().status().as_u16()
    }

    /// Its metrics.
    pub(crate) async fn metrics(&self) -> String {
        self.page("/metrics").await.unwrap().text().await.unwrap()
    }

    /// Waits until it says all that the runbook tells of this fault.
    pub(crate) async fn tells(&self, fault: &str) {
        self.says(fault, Fault::unsaid).await;
    }

    /// The same of its end.
    pub(crate) async fn tells_end_of(&self, fault: &str) {
        self.says(fault, Fault::unsaid_of_end).await;
    }

    async fn says(&self, fault: &str, compare: fn(&Fault, &Said<'_>) -> Vec<String>) {
        let (fault, since) = (Fault::named(fault).unwrap(), Instant::now());
        loop {
            let ready = self.page("/health/ready").await.unwrap();
            let (status, body) = (ready.status().as_u16(), ready.json().await.unwrap());
            let (log, metrics) = (self.service.log(), self.metrics().await);
            let unsaid = compare(&fault, &Said { log: &log, metrics: &metrics, ready: (status, &body) });
            if unsaid.is_empty() {
                return;
            }
            let name = &fault.name;
            assert!(since.elapsed() < PATIENCE, "{name}: docs/operations.md tells what is not so: {unsaid:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn page(&self, path: &str) -> reqwest::Result<Response> {
        self.http.get(format!("{}{path}", self.ops)).send().await
    }

    /// SIGTERM, and an orderly end in the promised time.
    pub(crate) async fn end(self) {
        self.service.terminate().unwrap();
        let status = blocking(move || (self.service.wait(Duration::from_secs(25)), self.service.log())).await;
        assert!(status.0.unwrap().success(), "{}", status.1);
    }
}

/// The settings of a scope, and then these, which count where they name the same. On a busy machine Kafka may
/// take longer than it has by default.
pub(super) fn env(scope: &Scope, settings: &[(String, String)]) -> Vec<(String, String)> {
    let patient = owned(&[("REQUEST_TIMEOUT", "40s"), ("KAFKA_MESSAGE_TIMEOUT", "30s")]);
    scope.env().into_iter().chain(patient).chain(settings.iter().cloned()).collect()
}
