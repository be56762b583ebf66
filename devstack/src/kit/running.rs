use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::Value;

use super::{PATIENCE, Report, blocking, nobody, sample};
use crate::Service;

/// A running service, and what its internal port says.
#[derive(Debug)]
pub struct Running {
    pub service: Service,
    /// Its internal port.
    pub ops: String,
    http: reqwest::Client,
}

impl Running {
    /// Starts one with these settings and an internal port of its own.
    pub fn start(
        mut env: Vec<(String, String)>,
        spawn: impl FnOnce(&[(String, String)]) -> anyhow::Result<Service>,
    ) -> Running {
        let ops = nobody();
        env.push(("OPS_BIND".to_owned(), ops.clone()));
        // As each page is asked for, it may be another state of the process that answers.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Running { service: spawn(&env).unwrap(), ops, http }
    }

    /// Status and text of a page; 0 and nothing while it does not answer.
    async fn get(&self, path: &str) -> (u16, String) {
        match self.http.get(format!("http://{}{path}", self.ops)).send().await {
            Ok(page) => (page.status().as_u16(), page.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    pub async fn ready(&self) -> (u16, Value) {
        let (status, text) = self.get("/health/ready").await;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// All that it says of its readiness; null while it does not answer.
    pub async fn health(&self) -> Value {
        self.ready().await.1
    }

    /// What its readiness says of a server that it depends on.
    pub async fn dependency(&self, name: &str) -> Value {
        self.health().await["dependencies"][name].take()
    }

    /// What its readiness says of a partition of its only group.
    pub async fn partition(&self, number: i32) -> Value {
        super::only_group(&self.health().await)["partitions"][number.to_string()].clone()
    }

    pub async fn status(&self) -> String {
        self.health().await["status"].as_str().unwrap_or("away").to_owned()
    }

    pub async fn live(&self) -> u16 {
        self.get("/health/live").await.0
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    /// The sum of a metric's samples with these labels ([`sample`]).
    pub async fn sample(&self, series: &str) -> Option<f64> {
        sample(&self.metrics().await, series)
    }

    /// Waits until it says all that the runbook tells of this fault.
    pub async fn tells(&self, fault: &str) {
        super::tells(fault, async || self.report().await).await;
    }

    /// The same of its end.
    pub async fn tells_end_of(&self, fault: &str) {
        super::tells_end_of(fault, async || self.report().await).await;
    }

    async fn report(&self) -> Report {
        let (ready, metrics) = (self.ready().await, self.metrics().await);
        Report { log: self.service.log(), metrics, ready }
    }

    pub fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// What it held at most.
    pub fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.service.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
    }

    /// SIGTERM, and an orderly end in the promised time; gives how long it took.
    pub async fn end(self) -> Duration {
        let asked = Instant::now();
        self.end_and_log().await;
        asked.elapsed()
    }

    /// The same; gives what it logged.
    pub async fn end_and_log(self) -> String {
        self.service.terminate().unwrap();
        let (status, log) = blocking(move || (self.service.wait(Duration::from_secs(25)), self.service.log())).await;
        assert!(status.unwrap().success(), "{log}");
        log
    }
}

/// A running `api-service`, and how it is called.
#[derive(Debug)]
pub struct Api {
    pub running: Running,
    pub address: SocketAddr,
    http: reqwest::Client,
}

impl Deref for Api {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl Api {
    /// Starts one with these settings and ports of its own.
    pub fn start(
        mut env: Vec<(String, String)>,
        spawn: impl FnOnce(&[(String, String)]) -> anyhow::Result<Service>,
    ) -> Api {
        let bind = nobody();
        env.push(("API_BIND".to_owned(), bind.clone()));
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Api { running: Running::start(env, spawn), address: bind.parse().unwrap(), http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str, token: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(token)
    }

    /// A body that is called JSON, whatever it is.
    pub fn post(&self, path: &str, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.http.post(self.url(path)).bearer_auth(token);
        request.header("content-type", "application/json").body(body)
    }

    /// What its public port says of its readiness; 0 and null while it does not answer.
    pub async fn public_ready(&self) -> (u16, Value) {
        match self.http.get(self.url("/health/ready")).send().await {
            Ok(page) => (page.status().as_u16(), page.json().await.unwrap_or_default()),
            Err(_) => (0, Value::Null),
        }
    }
}
