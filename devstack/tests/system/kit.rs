//! Both services on servers of a test's own, devices that send, and the count of it all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devstack::logs::PLANTED;
use devstack::{Program, Scope, Service, Stack, port, psql, token};
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Longer than anything here takes, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const SECRET: &str = "planted-7f3a: a secret of these tests alone, long enough";

pub(crate) struct System {
    // Before the servers: what is dropped first ends first.
    pub(crate) api: Service,
    pub(crate) base: String,
    /// The API's internal port.
    pub(crate) ops: String,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
    pub(crate) scope: Scope,
    pub(crate) stack: Stack,
    logs: PathBuf,
    settings: Vec<(String, String)>,
    /// How many services beside the first API.
    started: AtomicUsize,
}

impl System {
    /// Servers of its own, topics and tables, and an API that is ready; no worker yet. The settings
    /// are for both services.
    pub(crate) async fn start(name: &str, settings: &[(&str, &str)]) -> Arc<Self> {
        let settings = owned(settings);
        Self::start_on(name, move || (Stack::start().unwrap(), settings)).await
    }

    /// The same on a stack that needs settings of its own.
    pub(crate) async fn start_on(
        name: &str,
        stack: impl FnOnce() -> (Stack, Vec<(String, String)>) + Send + 'static,
    ) -> Arc<Self> {
        let name = name.to_owned();
        let start = move || {
            let (stack, settings) = stack();
            Self::launch(&name, stack, &settings)
        };
        let system = blocking(start).await;
        system.until("the API is ready", async || system.ready().await == 200).await;
        Arc::new(system)
    }

    fn launch(name: &str, stack: Stack, settings: &[(String, String)]) -> Self {
        let scope = Scope::on(&stack.endpoints(), name).unwrap();
        // They stay, for whoever wants to know why a test failed.
        let logs = devstack::target_dir().join("system-logs").join(name);
        let _ = std::fs::remove_dir_all(&logs);
        std::fs::create_dir_all(&logs).unwrap();
        let setup =
            Service::spawn(Program::Worker, &["setup"], &env(&scope, settings), &logs.join("setup.log")).unwrap();
        assert!(setup.wait(PATIENCE).unwrap().success(), "{}", setup.log());
        let Api { service: api, base, ops } = Api::spawn(&scope, settings, &logs.join("api.log"));
        let settings = settings.to_vec();
        let token = token::hs256(SECRET, "test", &["admin"], &[], Duration::from_secs(3600)).unwrap();
        let http = reqwest::Client::new();
        Self { api, base, ops, token, http, scope, stack, logs, settings, started: AtomicUsize::new(0) }
    }

    /// One more API beside the first.
    pub(crate) fn another_api(&self) -> Api {
        self.another_api_with(&[])
    }

    /// The same with settings of its own.
    pub(crate) fn another_api_with(&self, more: &[(&str, &str)]) -> Api {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        Api::spawn(&self.scope, &self.with(more), &self.logs.join(format!("api-{number}.log")))
    }

    fn with(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        self.settings.iter().cloned().chain(owned(more)).collect()
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    /// One with settings of its own.
    pub(crate) fn worker_with(&self, more: &[(&str, &str)]) -> Worker {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let ops = format!("127.0.0.1:{}", port::free());
        let mut env = env(&self.scope, &self.with(more));
        env.extend(owned(&[("OPS_BIND", &ops)]));
        let log = self.logs.join(format!("worker-{number}.log"));
        let service = Service::spawn(Program::Worker, &["run"], &env, &log).unwrap();
        Worker { service, ops: format!("http://{ops}") }
    }

    pub(crate) async fn post(&self, device: &str, id: &str, payload: &Value) -> reqwest::Result<Response> {
        let mut event = json!({"device_id": device, "event_id": id, "payload": payload});
        event["payload"]["planted"] = PLANTED.into();
        self.http.post(format!("{}/events", self.base)).bearer_auth(&self.token).json(&event).send().await
    }

    pub(crate) async fn get(&self, device: &str) -> reqwest::Result<Response> {
        self.http.get(format!("{}/resource/{device}", self.base)).bearer_auth(&self.token).send().await
    }

    pub(crate) async fn ready(&self) -> u16 {
        let asked = self.http.get(format!("{}/health/ready", self.base)).send().await;
        asked.map_or(0, |response| response.status().as_u16())
    }

    pub(crate) fn sql(&self, statement: &str) -> String {
        psql(&self.scope.database_url, statement).unwrap()
    }

    /// How many records the dead-letter topic has.
    pub(crate) async fn dead_letters(self: &Arc<Self>) -> i64 {
        let system = Arc::clone(self);
        let ends = blocking(move || {
            let scope = &system.scope;
            devstack::committed(&scope.endpoints.kafka_brokers, &scope.dlq_topic, "nobody").unwrap()
        });
        ends.await.values().map(|(_, end)| end).sum()
    }

    /// Runs a command of the worker's binary to its end: its status, and what it wrote.
    pub(crate) async fn command(&self, args: &[&str], more: &[(&str, &str)]) -> (bool, String) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("command-{number}.log"));
        let service = Service::spawn(Program::Worker, args, &env(&self.scope, &self.with(more)), &log).unwrap();
        blocking(move || (service.wait(PATIENCE).unwrap().success(), service.log())).await
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            if Instant::now() > deadline {
                panic!("not within {PATIENCE:?}: {what}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Devices that send numbered events, one after the other, each until it is accepted.
    pub(crate) fn load(self: &Arc<Self>, devices: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let senders = (0..devices).map(|n| {
            let (system, stop) = (Arc::clone(self), Arc::clone(&stop));
            tokio::spawn(async move { system.send(format!("device-{n}"), &stop).await })
        });
        Load { senders: senders.collect(), stop }
    }

    async fn send(&self, device: String, stop: &AtomicBool) -> Sent {
        let mut sent = Sent { device, accepted: 0, refused: BTreeMap::new() };
        while !stop.load(Ordering::Relaxed) {
            let (id, payload) = ((sent.accepted + 1).to_string(), json!({"n": sent.accepted + 1}));
            match self.post(&sent.device, &id, &payload).await {
                Ok(response) if response.status() == 202 => {
                    sent.accepted += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(response) => {
                    assert_eq!(response.status(), 503, "{:?}", response.text().await);
                    assert!(response.headers().contains_key("retry-after"));
                    let problem: Value = response.json().await.unwrap();
                    *sent.refused.entry(problem["code"].as_str().unwrap().to_owned()).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("the API broke off: {error}"),
            }
        }
        sent
    }

    /// Waits until every accepted event has had its one effect, and checks that it had no other, and
    /// that it can be read.
    pub(crate) async fn settle(self: &Arc<Self>, load: &[Sent]) {
        self.settle_rows(load).await;
        for Sent { device, accepted, .. } in load {
            // The fence comes behind the row, and where Redis was away, up to a second behind.
            let read = async || {
                let read: Value = self.get(device).await.unwrap().json().await.unwrap();
                (&read["version"], &read["payload"]["n"]) == (&json!(accepted), &json!(accepted))
            };
            self.until("what is read is the row", read).await;
        }
    }

    /// The same without the reading.
    pub(crate) async fn settle_rows(self: &Arc<Self>, load: &[Sent]) {
        let total: usize = load.iter().map(|sent| sent.accepted).sum();
        assert!(total > 0, "nothing was sent");
        let expected = total.to_string();
        self.until("every accepted event is a row", async || self.sql("SELECT count(*) FROM events") == expected).await;
        assert_eq!(self.sql("SELECT count(*) FROM events WHERE outcome <> 'applied'"), "0");
        for sent in load {
            let Sent { device, accepted, .. } = sent;
            let row =
                self.sql(&format!("SELECT version || ' ' || (payload->>'n') FROM resources WHERE id = '{device}'"));
            assert_eq!(row, format!("{accepted} {accepted}"), "{device}: each event once, and the last one last");
        }
        assert_eq!(self.dead_letters().await, 0, "no dead letter");
    }
}

pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) base: String,
    /// Its internal port.
    pub(crate) ops: String,
}

impl Api {
    fn spawn(scope: &Scope, settings: &[(String, String)], log: &Path) -> Self {
        let bind = format!("127.0.0.1:{}", port::free());
        let ops = format!("127.0.0.1:{}", port::free());
        let mut all = owned(&[("API_BIND", &bind), ("OPS_BIND", &ops), ("JWT_SECRET", SECRET)]);
        all.extend(env(scope, settings));
        let service = Service::spawn(Program::Api, &[], &all, log).unwrap();
        Self { service, base: format!("http://{bind}"), ops: format!("http://{ops}") }
    }
}

pub(crate) struct Worker {
    pub(crate) service: Service,
    ops: String,
}

impl Worker {
    /// What it says of its readiness.
    pub(crate) async fn status(&self) -> String {
        self.health().await.map_or("away".into(), |body| body["status"].as_str().unwrap().to_owned())
    }

    /// All that it says of its readiness; nothing while it does not answer.
    pub(crate) async fn health(&self) -> Option<Value> {
        Some(reqwest::get(format!("{}/health/ready", self.ops)).await.ok()?.json().await.unwrap())
    }

    /// The status of its liveness.
    pub(crate) async fn live(&self) -> u16 {
        reqwest::get(format!("{}/health/live", self.ops)).await.unwrap().status().as_u16()
    }

    /// Its metrics.
    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.ops)).await.unwrap().text().await.unwrap()
    }

    /// SIGTERM, and an orderly end in the promised time.
    pub(crate) async fn end(self) {
        self.service.terminate().unwrap();
        let status = blocking(move || (self.service.wait(Duration::from_secs(25)), self.service.log())).await;
        assert!(status.0.unwrap().success(), "{}", status.1);
    }
}

pub(crate) struct Load {
    senders: Vec<JoinHandle<Sent>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(crate) async fn end(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for sender in self.senders {
            all.push(sender.await.unwrap());
        }
        all
    }
}

pub(crate) struct Sent {
    pub(crate) device: String,
    pub(crate) accepted: usize,
    /// Refusals by their code.
    pub(crate) refused: BTreeMap<String, usize>,
}

pub(crate) fn refusals(load: &[Sent]) -> usize {
    load.iter().flat_map(|sent| sent.refused.values()).sum()
}

/// Puts a record on a topic as anybody could.
pub(crate) async fn put(brokers: &str, topic: &str, key: &str, value: &str) {
    let mut client = rdkafka::ClientConfig::new();
    let producer: FutureProducer = client.set("bootstrap.servers", brokers).create().unwrap();
    producer.send(FutureRecord::to(topic).key(key).payload(value), PATIENCE).await.unwrap();
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The settings of a scope, and then these, which count where they name the same.
fn env(scope: &Scope, settings: &[(String, String)]) -> Vec<(String, String)> {
    scope.env().into_iter().chain(settings.iter().cloned()).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
