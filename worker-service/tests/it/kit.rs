//! A topic, a database and a worker of a test's own, and verbs to use them.

mod commands;
mod faults;
mod kafka;
mod metrics;
mod process;
mod refusal;
mod transactions;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::Parser as _;
use devstack::Scope;
use rdkafka::config::ClientConfig;
use rdkafka::producer::FutureProducer;
use shared::config::{LogConfig, LogFormat, TopicConfig};
use shared::store::Store;
use shared::telemetry;
use shared::topic::setup::{TopicShape, create};
use sqlx::PgPool;
use worker_service::config::{Cli, Command, RunConfig};
use worker_service::worker::Worker;

pub(crate) use self::faults::InProcess;
pub(crate) use self::kafka::{event_headers, header, headers, owned_headers};
pub(crate) use self::metrics::{metrics, panic_over, panics_left};
pub(crate) use self::process::Process;

pub(crate) struct Kit {
    pub(crate) scope: Scope,
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    producer: FutureProducer,
}

/// Longer than anything here takes, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the worker logs in this process is kept, all of it: see `devstack::logs`. Gives the file.
fn keep_log() -> &'static Path {
    static KEPT: OnceLock<PathBuf> = OnceLock::new();
    KEPT.get_or_init(|| {
        let path = devstack::logs::file("worker-tests").unwrap();
        let file = std::fs::File::create(&path).unwrap();
        telemetry::start_log_into(&LogConfig { format: LogFormat::Json, filter: "trace".into() }, file).unwrap();
        path
    })
}

/// What was logged in this process so far.
fn log() -> String {
    std::fs::read_to_string(keep_log()).unwrap()
}

impl Kit {
    /// Topics of this many partitions, and a migrated database.
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        let owned = name.to_owned();
        let scope = tokio::task::spawn_blocking(move || Scope::new(&owned)).await.unwrap().unwrap();
        Self::on(scope, partitions).await
    }

    /// The same on servers of a test's own.
    pub(crate) async fn on(scope: Scope, partitions: i32) -> Self {
        keep_log();
        let postgres = run_config(&scope).stores.postgres;
        let store = Store::open(&postgres, "test").unwrap();
        store.migrate().await.unwrap();
        let producer = client(&scope).set("partitioner", "murmur2_random").set("linger.ms", "2").create().unwrap();
        let pool = PgPool::connect(&scope.database_url).await.unwrap();
        let kit = Self { producer, pool, store, scope };
        kit.make_topics(partitions).await;
        kit
    }

    /// The same with another Kafka, which has the topics.
    pub(crate) fn moved_to(self, scope: Scope) -> Self {
        Self { producer: client(&scope).set("partitioner", "murmur2_random").create().unwrap(), scope, ..self }
    }

    /// Makes those of the two topics that are not there.
    pub(crate) async fn make_topics(&self, partitions: i32) {
        let topics = TopicConfig { input: self.scope.input_topic.clone(), dlq: self.scope.dlq_topic.clone() };
        let shape = TopicShape { partitions, replication: 1, min_insync_replicas: 1, compression: Default::default() };
        create(&client(&self.scope), &topics, &shape).await.unwrap();
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::start(&run_config(&self.scope)).unwrap()
    }

    /// Waits until something holds.
    pub(crate) async fn until_it(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            if Instant::now() > deadline {
                panic!("not within {PATIENCE:?}: {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a query for one number gives this one.
    pub(crate) async fn until(&self, sql: &'static str, expected: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap();
            if found == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {found}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn version(&self, device: &str) -> Option<i64> {
        sqlx::query_scalar("SELECT version FROM resources WHERE id = $1")
            .bind(device)
            .fetch_optional(&self.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn outcome(&self, id: &str) -> Option<String> {
        sqlx::query_scalar("SELECT outcome FROM events WHERE event_id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.scope.endpoints.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) fn key(&self, device: &str) -> String {
        format!("{}{device}", self.scope.cache_prefix)
    }
}

/// A Kafka client of the test's own.
pub(crate) fn client(scope: &Scope) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &scope.endpoints.kafka_brokers);
    client
}

pub(crate) fn run_config(scope: &Scope) -> RunConfig {
    let mut args = vec!["worker-service".to_owned(), "run".to_owned(), "--redis-timeout=2s".to_owned()];
    args.extend(scope.env().into_iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase().replace('_', "-");
        (!name.starts_with("topic-")).then(|| format!("--{name}={value}"))
    }));
    match Cli::try_parse_from(args).unwrap().command {
        Command::Run(config) => *config,
        other => panic!("{other:?}"),
    }
}

/// An address of nobody.
pub(crate) fn nobody() -> String {
    format!("127.0.0.1:{}", devstack::port::free())
}
