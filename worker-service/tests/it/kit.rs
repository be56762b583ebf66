//! A topic, a database and a worker of a test's own, and verbs to use them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Parser;
use devstack::Scope;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::config::{LogConfig, LogFormat, TopicConfig};
use shared::store::Store;
use shared::telemetry;
use shared::topic::setup::{TopicShape, create};
use sqlx::PgPool;
use worker_service::config::{Cli, Command, DlqCommand, RunConfig};
use worker_service::dlq::redrive::Summary;
use worker_service::seek::Moved;
use worker_service::worker::Worker;

pub(crate) struct Kit {
    pub(crate) scope: Scope,
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    producer: FutureProducer,
}

/// Longer than anything here takes, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the worker logs in this process is kept, all of it: see `devstack::logs`.
fn keep_log() {
    static KEPT: std::sync::Once = std::sync::Once::new();
    KEPT.call_once(|| {
        let file = std::fs::File::create(devstack::logs::file("worker-tests").unwrap()).unwrap();
        telemetry::start_log_into(&LogConfig { format: LogFormat::Json, filter: "trace".into() }, file).unwrap();
    });
}

impl Kit {
    /// Topics of this many partitions, and a migrated database.
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        keep_log();
        let owned = name.to_owned();
        let scope = tokio::task::spawn_blocking(move || Scope::new(&owned)).await.unwrap().unwrap();
        let postgres = run_config(&scope).postgres;
        let store = Store::open(&postgres, "test").unwrap();
        store.migrate().await.unwrap();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &scope.endpoints.kafka_brokers);
        let topics = TopicConfig { input: scope.input_topic.clone(), dlq: scope.dlq_topic.clone() };
        let shape = TopicShape { partitions, replication: 1, min_insync_replicas: 1 };
        create(&client, &topics, &shape).await.unwrap();
        client.set("partitioner", "murmur2_random").set("linger.ms", "2");
        let pool = PgPool::connect(&scope.database_url).await.unwrap();
        Self { producer: client.create().unwrap(), pool, store, scope }
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::start(&run_config(&self.scope)).unwrap()
    }

    /// Puts a record on the input topic as it stands, as any other client could.
    pub(crate) async fn put(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> (i32, i64) {
        self.put_on(&self.scope.input_topic, key, value, headers).await
    }

    async fn put_on(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> (i32, i64) {
        let mut owned = OwnedHeaders::new();
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: *value });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(owned);
        (record.key, record.payload) = (key, value);
        let delivered = self.producer.send(record, PATIENCE).await.unwrap();
        (delivered.partition, delivered.offset)
    }

    /// Puts an event on the topic as the API does.
    pub(crate) async fn event(&self, device: &str, id: &str, payload: &str) -> (i32, i64) {
        self.event_with(device, id, payload, &[]).await
    }

    pub(crate) async fn event_with(&self, device: &str, id: &str, payload: &str, more: &[(&str, &str)]) -> (i32, i64) {
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", "io.edge.device.reported.v1"),
            ("ce_id", id),
            ("ce_subject", device),
            ("content-type", "application/json"),
        ];
        let all: Vec<_> = headers.iter().chain(more).map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        self.put(Some(device.as_bytes()), Some(payload.as_bytes()), &all).await
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

    /// Makes PostgreSQL refuse a device's events, as any trigger could.
    pub(crate) async fn refuse(&self, device: &str) {
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS refused (device_id text PRIMARY KEY);
             CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF EXISTS (SELECT FROM refused WHERE device_id = NEW.device_id) THEN RAISE EXCEPTION 'refused'; END IF;
               RETURN NEW; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query("INSERT INTO refused VALUES ($1)").bind(device).execute(&self.pool).await.unwrap();
    }

    pub(crate) async fn no_longer_refuse(&self, device: &str) {
        sqlx::query("DELETE FROM refused WHERE device_id = $1").bind(device).execute(&self.pool).await.unwrap();
    }

    /// Puts a dead letter on its topic as the worker does, of an event that died at this offset of
    /// the input topic's first partition.
    pub(crate) async fn letter(&self, device: &str, id: &str, died_at: i64, more: &[(&str, &str)]) -> (i32, i64) {
        let (offset, timestamp) = (died_at.to_string(), (1_000 + died_at).to_string());
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", "io.edge.device.reported.v1"),
            ("ce_id", id),
            ("ce_subject", device),
            ("content-type", "application/json"),
            ("dlq.reason", "failed"),
            ("dlq.error", "SQLSTATE P0001: refused"),
            ("dlq.attempts", "4"),
            ("dlq.topic", &self.scope.input_topic),
            ("dlq.partition", "0"),
            ("dlq.offset", &offset),
            ("dlq.timestamp", &timestamp),
        ];
        let all: Vec<_> = headers.iter().chain(more).map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let value = format!(r#"{{"secret":"{id}"}}"#);
        self.put_on(&self.scope.dlq_topic, Some(device.as_bytes()), Some(value.as_bytes()), &all).await
    }

    /// `dlq list --json`.
    pub(crate) async fn list(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let mut args = vec!["dlq", "list", "--json"];
        args.extend(more);
        let Command::Dlq { command: DlqCommand::List(config) } = self.parse(&args, &["kafka", "database"]) else {
            panic!()
        };
        let mut out = Vec::new();
        worker_service::dlq::list::run(&config, &mut out).await.unwrap();
        lines(&out)
    }

    /// `dlq show --json`.
    pub(crate) async fn show(&self, partition: i32, offset: i64) -> anyhow::Result<serde_json::Value> {
        let place = [partition.to_string(), offset.to_string()];
        let args = ["dlq", "show", &place[0], &place[1], "--json"];
        let Command::Dlq { command: DlqCommand::Show(config) } = self.parse(&args, &["kafka"]) else { panic!() };
        let mut out = Vec::new();
        worker_service::dlq::show::run(&config, &mut out).await?;
        Ok(lines(&out).remove(0))
    }

    /// `dlq redrive --json`, and what it says; settings that are given here count.
    pub(crate) async fn redrive(&self, more: &[&str]) -> anyhow::Result<(Summary, Vec<serde_json::Value>)> {
        let mut args = vec!["dlq", "redrive", "--json"];
        args.extend(more);
        let Command::Dlq { command: DlqCommand::Redrive(config) } =
            self.parse(&args, &["kafka", "database", "redis", "cache"])
        else {
            panic!()
        };
        let mut out = Vec::new();
        let summary = worker_service::dlq::redrive::run(&config, &mut out).await?;
        Ok((summary, lines(&out)))
    }

    /// `seek --to-time`, and what it says.
    pub(crate) async fn seek(&self, to: time::OffsetDateTime, more: &[&str]) -> anyhow::Result<(Vec<Moved>, String)> {
        let to = shared::topic::rfc3339(to);
        let mut args = vec!["seek", "--to-time", &to];
        args.extend(more);
        let Command::Seek(config) = self.parse(&args, &["kafka", "redis", "cache"]) else { panic!() };
        let mut out = Vec::new();
        let moved = worker_service::seek::run(&config, &mut out).await?;
        Ok((moved, String::from_utf8(out)?))
    }

    /// `forget`, and what it says.
    pub(crate) async fn forget(&self, device: &str, more: &[&str]) -> anyhow::Result<String> {
        let mut args = vec!["forget", device];
        args.extend(more);
        let Command::Forget(config) = self.parse(&args, &["database", "redis", "cache"]) else { panic!() };
        let mut out = Vec::new();
        worker_service::forget::run(&config, &mut out).await?;
        Ok(String::from_utf8(out)?)
    }

    fn parse(&self, args: &[&str], settings: &[&str]) -> Command {
        let given = |flag: &str| args.iter().any(|arg| arg.starts_with(flag));
        let mut all = vec!["worker-service".to_owned()];
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        for (name, value) in self.scope.env() {
            let flag = format!("--{}=", name.to_ascii_lowercase().replace('_', "-"));
            if settings.iter().any(|wanted| flag.starts_with(&format!("--{wanted}-"))) && !given(&flag) {
                all.push(format!("{flag}{value}"));
            }
        }
        Cli::try_parse_from(all).unwrap().command
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.scope.endpoints.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) fn key(&self, device: &str) -> String {
        format!("{}{device}", self.scope.cache_prefix)
    }

    /// Waits for this many records of the input topic, and gives all there are.
    pub(crate) async fn records(&self, at_least: usize) -> Vec<OwnedMessage> {
        let (brokers, topic) = (self.scope.endpoints.kafka_brokers.clone(), self.scope.input_topic.clone());
        tokio::task::spawn_blocking(move || read_all(&brokers, &topic, at_least)).await.unwrap()
    }

    /// Waits for this many dead letters, and gives all there are.
    pub(crate) async fn dead_letters(&self, at_least: usize) -> Vec<OwnedMessage> {
        let (brokers, topic) = (self.scope.endpoints.kafka_brokers.clone(), self.scope.dlq_topic.clone());
        tokio::task::spawn_blocking(move || read_all(&brokers, &topic, at_least)).await.unwrap()
    }

    /// What the group has committed, by partition.
    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        let scope = self.scope.clone();
        let read = move || {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &scope.endpoints.kafka_brokers)
                .set("group.id", &scope.group)
                .create()
                .unwrap();
            let metadata = consumer.fetch_metadata(Some(&scope.input_topic), PATIENCE).unwrap();
            let mut list = TopicPartitionList::new();
            for partition in metadata.topics()[0].partitions() {
                list.add_partition(&scope.input_topic, partition.id());
            }
            let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
            let offsets = committed.elements().into_iter().map(|e| (e.partition(), e.offset().to_raw().unwrap_or(-1)));
            offsets.filter(|(_, offset)| *offset >= 0).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

pub(crate) fn run_config(scope: &Scope) -> RunConfig {
    let mut args = vec!["worker-service".to_owned(), "run".to_owned(), "--redis-timeout=2s".to_owned()];
    args.extend(scope.env().into_iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase().replace('_', "-");
        (!name.starts_with("topic-")).then(|| format!("--{name}={value}"))
    }));
    match Cli::try_parse_from(args).unwrap().command {
        Command::Run(config) => config,
        other => panic!("{other:?}"),
    }
}

fn read_all(brokers: &str, topic: &str, at_least: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    loop {
        let ends: i64 = metadata.topics()[0]
            .partitions()
            .iter()
            .map(|p| consumer.fetch_watermarks(topic, p.id(), PATIENCE).unwrap().1)
            .sum();
        if found.len() >= at_least && found.len() >= usize::try_from(ends).unwrap() {
            return found;
        }
        assert!(Instant::now() < deadline, "{} dead letters, not {at_least}", found.len());
        while let Some(message) = consumer.poll(Duration::from_millis(100)) {
            found.push(message.unwrap().detach());
        }
    }
}

/// An address of nobody.
pub(crate) fn nobody() -> String {
    format!("127.0.0.1:{}", devstack::port::free())
}

fn lines(out: &[u8]) -> Vec<serde_json::Value> {
    std::str::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A message's header as text.
pub(crate) fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    headers(message).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

/// A message's headers as text, and those that are none as their bytes.
pub(crate) fn headers(message: &OwnedMessage) -> Vec<(String, String)> {
    message
        .headers()
        .unwrap()
        .iter()
        .map(|header| {
            let value =
                header.value.map_or_else(|| "<null>".into(), |value| String::from_utf8_lossy(value).into_owned());
            (header.key.to_owned(), value)
        })
        .collect()
}
