//! Both services on shared servers or on a test's own servers, with helpers to use them.

mod load;
mod servers;
mod services;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use devstack::kit::{Event, event, owned_headers};
use devstack::logs::PLANTED;
use devstack::{Endpoints, Program, Scope, Service, token};
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::Response;
use serde_json::Value;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};

pub(crate) use devstack::kit::{Api, Running, TEST_TIMEOUT, blocking, owned};

pub(crate) use self::load::{Sent, refusals};
pub(crate) use self::servers::{Own, Servers, ask, direct};
pub(crate) use self::services::says_down;

pub(crate) const SECRET: &str = "planted-7f3a: a secret of these tests alone, long enough";

pub(crate) struct System {
    // Declared before the servers, so that it is dropped and stopped first.
    pub(crate) api: Api,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
    pub(crate) scope: Scope,
    pub(crate) servers: Servers,
    /// A pool of one connection, which reconnects after an outage of PostgreSQL.
    session: PgPool,
    logs: PathBuf,
    settings: Vec<(String, String)>,
    started: AtomicUsize,
}

impl System {
    /// A system with its own topics and tables on the shared servers, and a ready API; no worker yet. The
    /// settings are for both services.
    pub(crate) async fn start(name: &str, settings: &[(&str, &str)]) -> Arc<Self> {
        Self::start_with(name, &[], settings).await
    }

    pub(crate) async fn start_with(name: &str, own: &'static [Own], settings: &[(&str, &str)]) -> Arc<Self> {
        let servers = blocking(|| Servers::start(own)).await;
        Self::start_on(name, servers, owned(settings)).await
    }

    pub(crate) async fn start_on(name: &str, servers: Servers, settings: Vec<(String, String)>) -> Arc<Self> {
        let name = name.to_owned();
        let system = blocking(move || Self::launch(&name, servers, settings)).await;
        system.until("the API is ready", async || system.api.public_ready().await.0 == 200).await;
        Arc::new(system)
    }

    fn launch(name: &str, servers: Servers, settings: Vec<(String, String)>) -> Self {
        let scope = Scope::on(&servers.endpoints(), name).unwrap();
        // The logs are kept, to help find out why a test failed.
        let logs = devstack::target_dir().join("system-logs").join(name);
        let _ = std::fs::remove_dir_all(&logs);
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join("setup.log");
        let setup = Service::spawn(Program::Worker, &["setup"], &services::env(&scope, &settings), &log).unwrap();
        assert!(setup.wait(TEST_TIMEOUT).unwrap().success(), "{}", setup.log());
        let api = services::spawn_api(&scope, &settings, &logs.join("api.log"));
        let token = token::hs256(SECRET, "test", &["admin"], &[], Duration::from_secs(3600)).unwrap();
        let (http, started) = (reqwest::Client::new(), AtomicUsize::new(0));
        let session = PgPoolOptions::new().max_connections(1).connect_lazy(&scope.database_url).unwrap();
        Self { api, token, http, scope, servers, session, logs, settings, started }
    }

    pub(crate) async fn post(&self, device: &str, id: &str, payload: &Value) -> reqwest::Result<Response> {
        let mut payload = payload.clone();
        payload["planted"] = PLANTED.into();
        self.send_to(&self.api, &event(device).id(id).payload(payload)).await
    }

    /// Posts an event unchanged to an API.
    pub(crate) async fn send_to(&self, api: &Api, event: &Event) -> reqwest::Result<Response> {
        api.post("/events", &self.token, event.json()).send().await
    }

    pub(crate) async fn get(&self, device: &str) -> reqwest::Result<Response> {
        self.get_from(&self.api, device).await
    }

    pub(crate) async fn get_from(&self, api: &Api, device: &str) -> reqwest::Result<Response> {
        api.get(&format!("/resource/{device}"), &self.token).send().await
    }

    /// The version that is read, or null, and whether it was a cache hit.
    pub(crate) async fn read(&self, device: &str) -> (Value, bool) {
        let response = self.get(device).await.unwrap();
        let is_hit = response.headers().get("cache-status").is_some_and(|source| source == "resource-cache; hit");
        (response.json::<Value>().await.unwrap()["version"].take(), is_hit)
    }

    /// Runs a statement; returns its first value, if any.
    pub(crate) async fn sql(&self, statement: &str) -> String {
        let rows = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch_all(&self.session).await;
        let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
        rows.first().map_or_else(String::new, |row| row.get_unchecked(0))
    }

    /// Writes a record directly to the input topic, as any client could.
    pub(crate) async fn put(&self, key: &str, value: &str, headers: &[(&str, &str)]) {
        let mut client = rdkafka::ClientConfig::new();
        client.set("bootstrap.servers", &self.scope.endpoints.kafka_brokers);
        let producer: FutureProducer = client.create().unwrap();
        let record = FutureRecord::to(&self.scope.input_topic).key(key).payload(value).headers(owned_headers(headers));
        producer.send(record, TEST_TIMEOUT).await.unwrap();
    }

    pub(crate) async fn count(&self, query: &str) -> usize {
        self.sql(query).await.parse().unwrap()
    }

    pub(crate) async fn rows(&self) -> usize {
        self.count("SELECT count(*) FROM events").await
    }

    /// Waits until a worker has written more rows, so that the next step happens during its work.
    pub(crate) async fn some_more(&self) {
        let before = self.rows().await;
        self.until("a worker works", async || self.rows().await > before + 50).await;
    }

    pub(crate) async fn dead_letters(&self) -> i64 {
        let (Endpoints { kafka_brokers, .. }, topic) = (self.scope.endpoints.clone(), self.scope.dlq_topic.clone());
        let ends = blocking(move || devstack::committed(&kafka_brokers, &topic, "nobody").unwrap());
        ends.await.values().map(|(_, end)| end).sum()
    }

    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        devstack::kit::until(what, holds).await;
    }
}
