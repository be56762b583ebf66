//! The server under test, with helpers for requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_service::app::App;
use api_service::backbone::Backbone;
use api_service::config::Config;
use api_service::ingest::producer::Producer;
use clap::Parser;
use devstack::Scope;
use devstack::kit::TEST_TIMEOUT;
pub(crate) use devstack::kit::scope;
use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use shared::cache::Cache;
use shared::devices::RESOURCE;
use shared::kafka::TopicConfig;
use shared::kafka::topics::setup::{self, TopicShape};
use shared::runtime::config::{LogConfig, LogFormat};
use shared::runtime::telemetry;
use shared::store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::contract::checked;

pub(crate) const SECRET: &str = "planted-7f3a: only for tests, 32 bytes or more of it";
pub(crate) const PARTITIONS: i32 = 3;

pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) scope: Scope,
    pub(crate) config: Config,
    pub(crate) backbone: Arc<Backbone>,
    pub(crate) producer: Producer,
    pub(crate) paths: Vec<&'static str>,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl TestApp {
    pub(crate) async fn start(name: &str) -> Self {
        Self::with(name, &[]).await
    }

    /// With these settings, `--name=value`, in addition to the usual ones.
    pub(crate) async fn with(name: &str, settings: &[&str]) -> Self {
        Self::on(scope(name).await, settings).await
    }

    /// On an existing scope, so that a setting can name a part of it.
    pub(crate) async fn on(scope: Scope, settings: &[&str]) -> Self {
        prepare(&scope).await;
        Self::prepared(scope, settings).await
    }

    /// On a scope whose topics and tables exist already.
    pub(crate) async fn prepared(scope: Scope, settings: &[&str]) -> Self {
        keep_log();
        let config = config(&scope, settings);
        let app = App::build(&config).unwrap();
        let (backbone, producer, paths) = (Arc::clone(&app.backbone), app.producers[0].clone(), app.paths());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run(listener, async {
            let _ = stopped.await;
        }));
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { address, scope, config, backbone, producer, paths, client, stop: Some(stop), running }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.address))
    }

    /// A valid `POST /events`, by a device with this token.
    pub(crate) fn submission(&self, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.request("POST", "/events").bearer_auth(token);
        request.header("content-type", "application/json").body(body)
    }

    pub(crate) async fn submit(&self, body: impl Into<reqwest::Body>) -> Response {
        self.submission(&admin(), body).send().await.unwrap()
    }

    pub(crate) async fn get(&self, id: &str) -> Response {
        self.request("GET", &format!("/resource/{id}")).bearer_auth(user()).send().await.unwrap()
    }

    /// The store that server and worker share, for a test that acts as the worker.
    pub(crate) fn store(&self) -> Store {
        Store::open(&self.config.backbone.postgres, "test").unwrap()
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::open(&self.config.backbone.redis, &[&RESOURCE]).unwrap()
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(self) {
        tokio::time::timeout(Duration::from_secs(20), self.running).await.expect("it does not end").unwrap();
    }
}

/// Keeps the whole log of the server in this process.
fn keep_log() {
    devstack::kit::keep_log("api-tests", |file| {
        telemetry::start_log_into(&LogConfig { format: LogFormat::Json, filter: "trace".into() }, file).unwrap();
    });
}

/// A new scope with topics and tables.
pub(crate) async fn prepared(name: &str) -> Scope {
    let scope = scope(name).await;
    prepare(&scope).await;
    scope
}

pub(crate) async fn prepare(scope: &Scope) {
    prepare_on(scope, 1).await;
}

/// Creates topics with this number of replicas, all of which have to be in sync.
pub(crate) async fn prepare_on(scope: &Scope, replicas: i32) {
    let plain = config(scope, &[]);
    let (replication, min_insync_replicas, compression) = (replicas, replicas, Default::default());
    let shape = TopicShape { partitions: PARTITIONS, replication, min_insync_replicas, compression };
    let kafka = shared::kafka::client(&plain.backbone.kafka).unwrap();
    let of_devices = TopicConfig { input: scope.input_topic.clone(), dlq: scope.dlq_topic.clone() };
    let of_ads = TopicConfig { input: scope.ads_topic.clone(), dlq: scope.ads_dlq_topic.clone() };
    let of_commands = TopicConfig { input: scope.domain_topic.clone(), dlq: scope.domain_dlq_topic.clone() };
    for created in
        join_all([&of_devices, &of_ads, &of_commands].map(|topics| setup::create(&kafka, topics, &shape))).await
    {
        created.unwrap();
    }
    Store::open(&plain.backbone.postgres, "test").unwrap().migrate(&[shared::devices::queries::INDEXES]).await.unwrap();
}

/// The usual settings and these; one with an empty value is not set.
pub(crate) fn config(scope: &Scope, settings: &[&str]) -> Config {
    let usual = [
        format!("--kafka-brokers={}", scope.endpoints.kafka_brokers),
        format!("--kafka-input-topic={}", scope.input_topic),
        format!("--kafka-dlq-topic={}", scope.dlq_topic),
        format!("--kafka-ads-topic={}", scope.ads_topic),
        format!("--kafka-ads-dlq-topic={}", scope.ads_dlq_topic),
        format!("--kafka-domain-topic={}", scope.domain_topic),
        format!("--kafka-domain-dlq-topic={}", scope.domain_dlq_topic),
        format!("--files-url={}", scope.files_url),
        format!("--database-url={}", scope.database_url),
        "--database-max-connections=4".to_owned(),
        format!("--redis-url={}", scope.endpoints.redis_url),
        format!("--cache-key-prefix={}", scope.cache_prefix),
        "--redis-timeout=2s".to_owned(),
        "--drain-delay=0s".to_owned(),
        // On a busy machine Kafka may take longer than the default.
        "--request-timeout=40s".to_owned(),
        "--kafka-message-timeout=30s".to_owned(),
        "--body-min-rate=1".to_owned(),
        format!("--jwt-secret={SECRET}"),
    ];
    let name = |setting: &str| setting.split('=').next().unwrap().to_owned();
    let kept = usual.into_iter().filter(|one| !settings.iter().any(|other| name(other) == name(one)));
    let given = settings.iter().filter(|one| !one.ends_with('=')).map(|&one| one.to_owned());
    let args = std::iter::once("api-service".to_owned()).chain(kept).chain(given);
    let config = Config::try_parse_from(args).unwrap();
    config.backbone.check().unwrap();
    config
}

pub(crate) fn token(roles: &[&str], devices: &[&str]) -> String {
    devstack::token::hs256(SECRET, "alice", roles, devices, Duration::from_secs(600)).unwrap()
}

pub(crate) fn admin() -> String {
    token(&["admin"], &[])
}

pub(crate) fn user() -> String {
    token(&["user"], &[])
}

pub(crate) fn nowhere(setting: &str) -> String {
    let port = devstack::port::free();
    setting.replace("PORT", &port.to_string())
}

/// Reads a problem. Checks its required members, and compares it with the document.
pub(crate) async fn problem(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let (status, headers, body) = checked(response).await;
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], headers["x-request-id"].to_str().unwrap());
    if status == 401 {
        // The same as in the body, which some clients do not read.
        let described = format!(r#"Bearer error="invalid_token", error_description={}"#, problem["detail"]);
        assert_eq!(headers["www-authenticate"], described);
    }
    for member in ["type", "title", "detail", "code"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
    }
    problem
}

/// Reads a problem that must have this status, this code, and this `Retry-After` or none.
pub(crate) async fn is_refused(response: Response, status: u16, code: &str, later: Option<&str>) -> Value {
    let told = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let found = response.status().as_u16();
    let problem = problem(response).await;
    assert_eq!((found, problem["code"].as_str(), told.as_deref()), (status, Some(code), later), "{problem}");
    problem
}

/// A connection to this Redis. A busy machine may take longer than the client's default of half a second.
pub(crate) async fn redis_at(url: &str) -> redis::aio::MultiplexedConnection {
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(TEST_TIMEOUT));
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}
