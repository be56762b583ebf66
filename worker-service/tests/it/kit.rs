//! A topic, a database and a worker of a test's own, and verbs to use them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use clap::Parser;
use devstack::{Program, Scope, Service};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
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
        let shape = TopicShape { partitions, replication: 1, min_insync_replicas: 1 };
        create(&client(&self.scope), &topics, &shape).await.unwrap();
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::start(&run_config(&self.scope)).unwrap()
    }

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

    /// Runs the binary with a command of an operator's, and this test's settings.
    pub(crate) async fn command(&self, args: &[&str]) -> Said {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_worker-service"));
        command.args(args).envs(self.scope.env()).env("REDIS_TIMEOUT", "2s");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Said {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Puts a record on the input topic as it stands, as any other client could.
    pub(crate) async fn put(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> (i32, i64) {
        self.put_on(&self.scope.input_topic, None, key, value, headers).await
    }

    async fn put_on(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> (i32, i64) {
        let mut owned = OwnedHeaders::new();
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: *value });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(owned);
        (record.key, record.payload, record.partition) = (key, value, partition);
        let delivered = self.producer.send(record, PATIENCE).await.unwrap();
        (delivered.partition, delivered.offset)
    }

    /// Puts an event on the topic as the API does.
    pub(crate) async fn event(&self, device: &str, id: &str, payload: &str) -> (i32, i64) {
        self.event_with(device, id, payload, &[]).await
    }

    /// The same on this partition, as a producer does that knows of another number of them.
    pub(crate) async fn event_at(&self, partition: i32, device: &str, id: &str, payload: &str) {
        self.put_event(Some(partition), device, id, payload, &[]).await;
    }

    /// Puts many events on the topic, as fast as Kafka takes them; `of` gives each its device.
    pub(crate) async fn flood(&self, count: usize, payload: &str, of: impl Fn(usize) -> String) {
        for n in 0..count {
            let (device, id) = (of(n), n.to_string());
            let headers = OwnedHeaders::new()
                .insert(Header { key: "ce_specversion", value: Some("1.0") })
                .insert(Header { key: "ce_type", value: Some("io.edge.device.reported.v1") })
                .insert(Header { key: "ce_id", value: Some(&id) })
                .insert(Header { key: "ce_subject", value: Some(&device) })
                .insert(Header { key: "content-type", value: Some("application/json") });
            let mut record = FutureRecord::to(&self.scope.input_topic).headers(headers).key(&device).payload(payload);
            while let Err((error, again)) = self.producer.send_result(record) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
                tokio::time::sleep(Duration::from_millis(5)).await;
                record = again;
            }
        }
        let producer = self.producer.clone();
        tokio::task::spawn_blocking(move || producer.flush(PATIENCE)).await.unwrap().unwrap();
    }

    pub(crate) async fn event_with(&self, device: &str, id: &str, payload: &str, more: &[(&str, &str)]) -> (i32, i64) {
        self.put_event(None, device, id, payload, more).await
    }

    async fn put_event(
        &self,
        partition: Option<i32>,
        device: &str,
        id: &str,
        payload: &str,
        more: &[(&str, &str)],
    ) -> (i32, i64) {
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", "io.edge.device.reported.v1"),
            ("ce_id", id),
            ("ce_subject", device),
            ("content-type", "application/json"),
        ];
        let all: Vec<_> = headers.iter().chain(more).map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let (key, value) = (Some(device.as_bytes()), Some(payload.as_bytes()));
        self.put_on(&self.scope.input_topic, partition, key, value, &all).await
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

    /// Gives the input topic so many partitions, and waits until producers know.
    pub(crate) async fn add_partitions(&self, total: usize) {
        let admin: AdminClient<DefaultClientContext> = client(&self.scope).create().unwrap();
        let more = [NewPartitions::new(&self.scope.input_topic, total)];
        admin.create_partitions(&more, &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        // Asking lets this very producer know.
        let known = async || {
            let (producer, topic) = (self.producer.clone(), self.scope.input_topic.clone());
            let ask = move || {
                producer.client().fetch_metadata(Some(&topic), PATIENCE).unwrap().topics()[0].partitions().len()
            };
            tokio::task::spawn_blocking(ask).await.unwrap() == total
        };
        self.until_it("the partitions are there", known).await;
    }

    /// Settings of a topic; what is not named goes back to the server's defaults.
    pub(crate) async fn set_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = client(&self.scope).create().unwrap();
        let mut change =
            AlterConfig::new(ResourceSpecifier::Topic(topic)).set("message.timestamp.type", "LogAppendTime");
        for (name, value) in settings {
            change = change.set(name, value);
        }
        admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
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

    /// Makes the processing of a device's events fail, as any trigger could.
    pub(crate) async fn refuse(&self, device: &str) {
        self.refuse_with(device, "P0001").await;
    }

    /// Makes PostgreSQL refuse a device's events with this SQLSTATE, and note the time of each try
    /// in sequences, which no rollback takes back.
    pub(crate) async fn refuse_with(&self, device: &str, sqlstate: &str) {
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS refused (device_id text PRIMARY KEY, sqlstate text NOT NULL);
             CREATE SEQUENCE IF NOT EXISTS count_of_tries;
             DO $$ BEGIN FOR n IN 1..20 LOOP
               EXECUTE 'CREATE SEQUENCE IF NOT EXISTS try_' || n; END LOOP; END $$;
             CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE state text; try bigint; BEGIN
               SELECT sqlstate INTO state FROM refused WHERE device_id = NEW.device_id;
               IF NOT FOUND THEN RETURN NEW; END IF;
               try := nextval('count_of_tries');
               IF try <= 20 THEN
                 PERFORM setval('try_' || try, (extract(epoch FROM clock_timestamp()) * 1000)::bigint);
               END IF;
               RAISE EXCEPTION 'refused' USING ERRCODE = state; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .execute(&self.pool)
        .await
        .unwrap();
        let query = sqlx::query("INSERT INTO refused VALUES ($1, $2)").bind(device).bind(sqlstate);
        query.execute(&self.pool).await.unwrap();
    }

    /// When refused events were tried, in milliseconds since the first try.
    pub(crate) async fn tries(&self) -> Vec<i64> {
        let all: Vec<i64> = sqlx::query_scalar(
            "SELECT last_value FROM pg_sequences WHERE sequencename LIKE 'try%' AND last_value IS NOT NULL ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        all.iter().map(|at| at - all[0]).collect()
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
        self.put_on(&self.scope.dlq_topic, None, Some(device.as_bytes()), Some(value.as_bytes()), &all).await
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
            let consumer: BaseConsumer = client(&scope).set("group.id", &scope.group).create().unwrap();
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

    /// What it holds in memory, in MiB.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.service.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
    }

    /// SIGTERM; gives how long it took to end, which it has to do in order.
    pub(crate) async fn end(self) -> Duration {
        let asked = Instant::now();
        self.service.terminate().unwrap();
        let end = move || (self.service.wait(Duration::from_secs(25)), self.service.log());
        let (status, log) = tokio::task::spawn_blocking(end).await.unwrap();
        assert!(status.unwrap().success(), "{log}");
        asked.elapsed()
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) error: String,
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
