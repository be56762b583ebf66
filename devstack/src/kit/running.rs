use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::Value;

use super::{Report, TEST_TIMEOUT, blocking, nobody, sample};
use crate::Service;

/// A running service and its internal port.
#[derive(Debug)]
pub struct Running {
    pub service: Service,
    /// Its internal port.
    pub ops: String,
    http: reqwest::Client,
}

impl Running {
    /// Starts a service with these settings and its own internal port.
    pub fn start(
        mut env: Vec<(String, String)>,
        spawn: impl FnOnce(&[(String, String)]) -> anyhow::Result<Service>,
    ) -> Running {
        let ops = nobody();
        env.push(("OPS_BIND".to_owned(), ops.clone()));
        // No pooled connections: the process may have been restarted or frozen between two requests.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Running { service: spawn(&env).unwrap(), ops, http }
    }

    /// Status and text of a page; 0 and an empty text while it does not answer.
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

    /// The readiness report; null while it does not answer.
    pub async fn health(&self) -> Value {
        self.ready().await.1
    }

    /// The readiness report's entry for a server.
    pub async fn dependency(&self, name: &str) -> Value {
        self.health().await["dependencies"][name].take()
    }

    /// The readiness report's entry for a partition of its only group.
    pub async fn partition(&self, number: i32) -> Value {
        super::group_of_devices(&self.health().await)["partitions"][number.to_string()].clone()
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

    /// Waits until it reports everything that the runbook lists for this fault.
    pub async fn tells(&self, fault: &str) {
        super::tells(fault, async || self.report().await).await;
    }

    /// The same for the end of the fault.
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

    /// Its peak resident memory.
    pub fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.service.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
    }

    /// Sends SIGTERM and expects a graceful shutdown within the promised time; returns how long it took.
    pub async fn end(self) -> Duration {
        let asked = Instant::now();
        self.end_and_log().await;
        asked.elapsed()
    }

    /// The same; returns the log.
    pub async fn end_and_log(self) -> String {
        self.service.terminate().unwrap();
        let (status, log) = blocking(move || (self.service.wait(Duration::from_secs(25)), self.service.log())).await;
        assert!(status.unwrap().success(), "{log}");
        log
    }
}

/// A running `api-service` and a client for it.
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
    /// Starts an API with these settings and its own ports.
    pub fn start(
        mut env: Vec<(String, String)>,
        spawn: impl FnOnce(&[(String, String)]) -> anyhow::Result<Service>,
    ) -> Api {
        let bind = nobody();
        env.push(("API_BIND".to_owned(), bind.clone()));
        let http = reqwest::Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
        Api { running: Running::start(env, spawn), address: bind.parse().unwrap(), http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str, token: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(token)
    }

    /// A post with any body, declared as JSON.
    pub fn post(&self, path: &str, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.http.post(self.url(path)).bearer_auth(token);
        request.header("content-type", "application/json").body(body)
    }

    /// The readiness on its public port; 0 and null while it does not answer.
    pub async fn public_ready(&self) -> (u16, Value) {
        match self.http.get(self.url("/health/ready")).send().await {
            Ok(page) => (page.status().as_u16(), page.json().await.unwrap_or_default()),
            Err(_) => (0, Value::Null),
        }
    }
}
