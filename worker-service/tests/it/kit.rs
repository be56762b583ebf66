//! The test kit: topics, a database and a worker for one test, and methods to use them.

mod ads;
mod altered;
mod commands;
mod kafka;
mod metrics;
mod outbox;
mod refusal;
mod second;
mod transactions;

use std::path::Path;

use devstack::{Endpoints, Postgres, Program, Service, kit};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer};
use shared::kafka::TopicConfig;
use shared::kafka::topics::setup::{TopicShape, create};
use shared::runtime::config::{LogConfig, LogFormat};
use shared::runtime::telemetry;
use shared::store::Store;
use sqlx::{PgPool, SqlSafeStr};
use worker_service::config::{Command, RunConfig};

use crate::prelude::*;

pub(crate) use devstack::kit::{Running as Process, group_of_devices as of_group};

pub(crate) use self::ads::{Ad, Ads, CENT, DAY, ad};
pub(crate) use self::altered::{Alter, Altered};
pub(crate) use self::commands::{parse, program, run};
pub(crate) use self::metrics::{metrics, panic_over, panics_left};
pub(crate) use self::outbox::be_a_relay;
pub(crate) use self::second::{ONE, TWO, Trouble};

pub(crate) struct Kit {
    pub(crate) scope: Scope,
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    producer: FutureProducer,
}

/// Keeps the complete log of the worker in this process; returns its file.
fn keep_log() -> &'static Path {
    kit::keep_log("worker-tests", |file| {
        telemetry::start_log_into(&LogConfig { format: LogFormat::Json, filter: "trace".into() }, file).unwrap();
    })
}

/// The log of all workers in this process.
pub(crate) fn own_log() -> String {
    std::fs::read_to_string(keep_log()).unwrap()
}

/// A worker in this process that has a fault.
pub(crate) struct InProcess<'a>(pub(crate) &'a Worker);

impl InProcess<'_> {
    /// Waits until it reports everything that the runbook says about this fault.
    pub(crate) async fn tells(&self, fault: &str) {
        kit::tells(fault, async || self.report()).await;
    }

    /// The same for the end of the fault.
    pub(crate) async fn tells_end_of(&self, fault: &str) {
        kit::tells_end_of(fault, async || self.report()).await;
    }

    fn report(&self) -> kit::Report {
        let (is_ready, body) = self.0.health.report();
        let log = own_log();
        kit::Report { log, metrics: metrics().render(), ready: (if is_ready { 200 } else { 503 }, body) }
    }
}

impl Kit {
    /// Topics of this many partitions, and a migrated database.
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        Self::on(kit::scope(name).await, partitions).await
    }

    /// Like [`Self::new`], with a worker in this process.
    pub(crate) async fn with_worker(name: &str, partitions: i32) -> (Self, Worker) {
        let kit = Self::new(name, partitions).await;
        let worker = kit.worker();
        (kit, worker)
    }

    /// Like [`Self::new`], with a worker in its own process.
    pub(crate) async fn with_process(name: &str, partitions: i32) -> (Self, Process) {
        let kit = Self::new(name, partitions).await;
        let worker = kit.process().await;
        (kit, worker)
    }

    /// Like [`Self::new`], on the servers of this scope.
    pub(crate) async fn on(scope: Scope, partitions: i32) -> Self {
        keep_log();
        metrics();
        let postgres = run_config(&scope).stores.postgres;
        let store = Store::open(&postgres, "test").unwrap();
        store.migrate(&[queries::INDEXES]).await.unwrap();
        let pool = PgPool::connect(&scope.database_url).await.unwrap();
        let producer = client(&scope).create().unwrap();
        let kit = Self { producer, pool, store, scope }.producing(&[]);
        kit.make_topics(partitions).await;
        kit
    }

    /// Like [`Self::new`], on a PostgreSQL for this test only.
    pub(crate) async fn on_postgres(name: &'static str, partitions: i32) -> (Postgres, Self) {
        let start = move || {
            let postgres = Postgres::start().unwrap();
            let endpoints = Endpoints { postgres_url: postgres.url(), ..devstack::endpoints().clone() };
            (postgres, Scope::on(&endpoints, name).unwrap())
        };
        let (postgres, scope) = blocking(start).await;
        (postgres, Self::on(scope, partitions).await)
    }

    /// The same kit with a producer that has these settings.
    pub(crate) fn producing(self, settings: &[(&str, &str)]) -> Self {
        let mut config = client(&self.scope);
        for (name, value) in [("partitioner", "murmur2_random"), ("linger.ms", "2")].iter().chain(settings) {
            config.set(*name, *value);
        }
        Self { producer: config.create().unwrap(), ..self }
    }

    /// The same kit with another Kafka, which has the topics.
    pub(crate) fn moved_to(self, scope: Scope) -> Self {
        Self { scope, ..self }.producing(&[])
    }

    /// One partition, on a mock Kafka that refuses requests on demand and has only the input topic.
    pub(crate) async fn on_mock(name: &str) -> (Self, MockCluster<'static, DefaultProducerContext>) {
        let (kit, mock) = (Self::new(name, 1).await, MockCluster::new(1).unwrap());
        let mut scope = kit.scope.clone();
        scope.endpoints.kafka_brokers = mock.bootstrap_servers();
        mock.create_topic(&scope.input_topic, 1, 1).unwrap();
        (kit.moved_to(scope), mock)
    }

    /// Creates those of the two topics that do not exist.
    pub(crate) async fn make_topics(&self, partitions: i32) {
        let topics = TopicConfig { input: self.scope.input_topic.clone(), dlq: self.scope.dlq_topic.clone() };
        let shape = TopicShape { partitions, replication: 1, min_insync_replicas: 1, compression: Default::default() };
        create(&client(&self.scope), &topics, &shape).await.unwrap();
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(Parts::default())
    }

    pub(crate) fn worker_with(&self, parts: Parts) -> Worker {
        Worker::start_with(&run_config(&self.scope), worker_service::domains::registry(), parts).unwrap()
    }

    /// A worker that reaches PostgreSQL through a proxy.
    pub(crate) fn proxied_worker(&self) -> (Proxy, Worker) {
        let (proxy, database_url) = Proxy::before(&self.scope.database_url).unwrap();
        let worker = Worker::start(&run_config(&Scope { database_url, ..self.scope.clone() })).unwrap();
        (proxy, worker)
    }

    /// A worker in its own process, which can be frozen and killed.
    pub(crate) async fn process(&self) -> Process {
        self.process_with(&[]).await
    }

    /// The same with more settings.
    pub(crate) async fn process_with(&self, more: &[(&str, &str)]) -> Process {
        let given = kit::owned(&[("REDIS_TIMEOUT", "2s"), ("WORKER_ONLY", ROLES)]);
        let env = [self.scope.env(), given, kit::owned(more)].concat();
        // The logs are kept, so that a failed test can be examined.
        let logs = devstack::target_dir().join("worker-logs");
        let log = logs.join(format!("{}-{}.log", self.scope.group, fastrand::u32(..)));
        let start = move || {
            std::fs::create_dir_all(logs).unwrap();
            Process::start(env, |env| Service::spawn(Program::Worker, &["run"], env, &log))
        };
        kit::blocking(start).await
    }

    /// Waits until a query returns this number.
    pub(crate) async fn until(&self, sql: &'static str, expected: i64) {
        let is_expected = async || {
            let count = self.count(sql).await;
            if count == expected { Ok(()) } else { Err(count) }
        };
        found(&format!("{sql} gives {expected}"), is_expected).await;
    }

    /// Waits until the group has committed this offset of a partition.
    pub(crate) async fn until_committed(&self, partition: i32, offset: i64) {
        let is_committed = async || {
            let committed = self.committed().await;
            if committed[&partition] == offset { Ok(()) } else { Err(committed) }
        };
        found(&format!("{partition} is committed up to {offset}"), is_committed).await;
    }

    /// Puts an event on the topic, and waits until it has its row.
    pub(crate) async fn apply(&self, device: &str, id: &str, payload: &str) {
        self.event(device, id, payload).await;
        let sql = "SELECT event_id FROM events WHERE device_id = $1 AND event_id = $2";
        let row = async || sqlx::query(sql).bind(device).bind(id).fetch_optional(&self.pool).await.unwrap();
        until(&format!("{id} of {device} is applied"), async || row().await.is_some()).await;
    }

    /// Stops a worker, and checks that the first partition is committed up to this offset.
    pub(crate) async fn end_at(&self, worker: impl End, offset: i64) {
        worker.end().await;
        assert_eq!(self.committed().await[&0], offset);
    }

    pub(crate) async fn version(&self, device: &str) -> Option<i64> {
        let query = sqlx::query_scalar("SELECT version FROM resources WHERE id = $1").bind(device);
        query.fetch_optional(&self.pool).await.unwrap()
    }

    pub(crate) async fn outcome(&self, id: &str) -> Option<String> {
        let query = sqlx::query_scalar("SELECT outcome FROM events WHERE event_id = $1").bind(id);
        query.fetch_optional(&self.pool).await.unwrap()
    }

    pub(crate) async fn count(&self, sql: impl SqlSafeStr) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn sql(&self, statements: impl SqlSafeStr) {
        sqlx::raw_sql(statements).execute(&self.pool).await.unwrap();
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.scope.endpoints.redis_url.as_str()).unwrap();
        // On a busy machine, an answer may take longer than the client's half second.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(TEST_TIMEOUT));
        client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
    }

    pub(crate) fn key(&self, device: &str) -> String {
        format!("{}resource:{device}", self.scope.cache_prefix)
    }
}

/// A worker, in this process or in its own.
pub(crate) trait End {
    async fn end(self);
}

impl End for Worker {
    async fn end(self) {
        self.stop().await.unwrap();
    }
}

impl End for Process {
    async fn end(self) {
        Process::end(self).await;
    }
}

/// The lines of a log with this message.
pub(crate) fn told(log: &str, message: &str) -> Vec<Value> {
    json_lines(log).filter(|line| line["message"] == message).collect()
}

/// An event as the API writes it, in a form that can be encoded byte by byte.
pub(crate) fn wire_event(device: &str, id: &str) -> WireRecord {
    event(device).id(id).wire_record()
}

/// Checks that this peak of memory, in MiB, is plausible and below the bound.
pub(crate) fn assert_memory(most: usize, bound: usize) {
    println!("{most} MiB");
    assert!((5..bound).contains(&most), "{most} MiB, and not less than {bound}");
}

/// Bytes that do not compress, and are not an event.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|_| fastrand::u8(..)).collect()
}

/// A partition of the only group, in the worker's health report.
pub(crate) fn partition(worker: &Worker, number: i32) -> Value {
    of_group(&worker.health.report().1)["partitions"][number.to_string()].clone()
}

/// A Kafka client for the test itself.
pub(crate) fn client(scope: &Scope) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &scope.endpoints.kafka_brokers);
    client
}

/// What a worker of these tests runs, unless a test says otherwise: one group, so that its health is the worker's.
const ROLES: &str = "devices,devices-expire";

/// The settings of a worker of devices.
pub(crate) fn run_config(scope: &Scope) -> RunConfig {
    match parse(scope, &["run", "--redis-timeout=2s", &format!("--only={ROLES}")]) {
        Command::Run(config) => *config,
        other => panic!("{other:?}"),
    }
}
