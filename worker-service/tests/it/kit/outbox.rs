//! An outbox that a test fills as commands do, and relays that empty it into the input topic.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser as _;
use rdkafka::message::OwnedMessage;
use shared::kafka::{Setting, StreamSpec};
use shared::store::{Once, PostgresConfig, Store};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker_service::config::{Cli, Command as WorkerCommand, RunConfig};
use worker_service::outbox::relay::{Published, Relay};
use worker_service::source::{HandlerSpec, Source};

use crate::prelude::*;

const NO_SETTING: Setting = Setting::new("", "", "", "");

/// A handler of a stream that is written through the outbox.
pub(crate) const PUBLISHED: HandlerSpec = HandlerSpec {
    name: "published",
    group: NO_SETTING,
    stream: StreamSpec {
        name: "published",
        topic: NO_SETTING,
        dead_letters: NO_SETTING,
        types: &["test.v1"],
        extensions: &[],
        transactional: true,
    },
    owner: true,
    types: &["test.v1"],
    once: Once::Inbox { subscriber: "published" },
};

/// A relay in this process.
pub(crate) struct Relaying {
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// How many transactions it has committed in Kafka.
    pub(crate) commits: Arc<AtomicUsize>,
}

impl Relaying {
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A relay in a process of its own, which is killed when dropped.
pub(crate) struct RelayProcess(Child);

impl RelayProcess {
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success(), "{signal}");
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it is stopped by a signal.
    pub(crate) fn is_frozen(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the process of a relay does between a commit in Kafka and the deletion of its rows: the name of this variable.
const DEED: &str = "TEST_RELAY_DEED";
/// The test that is the process of a relay.
const PROCESS: &str = "outbox_process::a_relay_that_other_tests_start";

/// The process of a relay: runs until it is killed.
pub(crate) async fn be_a_relay() {
    let arguments = ["worker-service", "run"];
    let WorkerCommand::Run(config) = Cli::try_parse_from(arguments).unwrap().command else { panic!() };
    let deed = std::env::var(DEED).unwrap();
    let published = move || match deed.as_str() {
        "freeze" => {
            assert!(Command::new("kill").args(["-STOP", &std::process::id().to_string()]).status().is_ok());
            // The process stops when its main thread runs next, and this thread must not go on until then.
            std::thread::sleep(Duration::from_secs(2));
        }
        "die" => std::process::abort(),
        _ => {}
    };
    relay(&config, Arc::new(published)).run(CancellationToken::new()).await;
}

/// A relay whose topic is the input topic of the devices.
fn relay(config: &RunConfig, published: Published) -> Relay {
    let devices = config.sources.0.iter().find(|source| source.handler.name == "devices").unwrap();
    let postgres = PostgresConfig { max_connections: 2, ..config.stores.postgres.clone() };
    Relay {
        store: Store::open(&postgres, "outbox-relay").unwrap(),
        client: shared::kafka::client(&config.kafka).unwrap(),
        source: Source { handler: PUBLISHED, ..devices.clone() },
        batch_rows: 1_000,
        published,
    }
}

impl Kit {
    /// What the owner of the outbox's stream reads.
    pub(crate) fn published(&self) -> Source {
        relay(&run_config(&self.scope), Arc::new(|| {})).source
    }

    /// A relay in this process.
    pub(crate) fn relaying(&self) -> Relaying {
        self.relaying_on(&self.scope)
    }

    /// The same on other servers.
    pub(crate) fn relaying_on(&self, scope: &Scope) -> Relaying {
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&commits);
        let published = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let (relay, stop) = (relay(&run_config(scope), published), CancellationToken::new());
        let stopped = stop.clone();
        Relaying { task: tokio::spawn(async move { relay.run(stopped).await }), stop, commits }
    }

    /// A relay in a process of its own, which does this between a commit in Kafka and the deletion.
    pub(crate) fn relay_process(&self, deed: &str) -> RelayProcess {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([PROCESS, "--exact", "--ignored", "--nocapture"]).envs(self.scope.env()).env(DEED, deed);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        RelayProcess(command.spawn().unwrap())
    }

    /// Begins a command that writes this many events of an aggregate; its numbers and ids are drawn.
    pub(crate) async fn begin_events(&self, aggregate: &str, events: i64) -> Transaction<'static, Postgres> {
        let mut tx = self.pool.begin().await.unwrap();
        let lock = "INSERT INTO sequences AS known VALUES ($1, $2)
            ON CONFLICT (aggregate) DO UPDATE SET last = known.last + $2 RETURNING last";
        let last: i64 = sqlx::query_scalar(lock).bind(aggregate).bind(events).fetch_one(&mut *tx).await.unwrap();
        let insert = r#"INSERT INTO outbox (event_id, aggregate, sequence, type, attributes, data)
            SELECT gen_random_uuid(), $1, n, 'test.v1',
                   '{"source":"/test","subject":"s","correlationid":"c"}'::jsonb,
                   '{"n":' || n || '}'
            FROM generate_series($2::bigint, $3::bigint) AS n ORDER BY n"#;
        sqlx::query(insert).bind(aggregate).bind(last - events + 1).bind(last).execute(&mut *tx).await.unwrap();
        tx
    }

    /// A command that writes this many events of an aggregate.
    pub(crate) async fn write_events(&self, aggregate: &str, events: i64) {
        self.begin_events(aggregate, events).await.commit().await.unwrap();
    }

    /// Waits until the outbox is empty and the topic has this many records; checks that each aggregate's are numbered
    /// 1, 2, 3, … in the topic's order, and that no event is there twice. Returns all records.
    pub(crate) async fn all_published(&self, expected: usize) -> Vec<OwnedMessage> {
        self.until("SELECT count(*) FROM outbox", 0).await;
        let records = self.records(expected).await;
        assert_eq!(records.len(), expected);
        let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for record in &records {
            let number: i64 = header(record, "ce_sequence").unwrap().parse().unwrap();
            let before = last.insert(record.key().unwrap().to_vec(), number).unwrap_or(0);
            assert_eq!(number, before + 1, "{:?}", record.key());
            assert!(ids.insert(header(record, "ce_id").unwrap()), "an event twice");
        }
        records
    }

    /// Waits until a relay has the lease; returns its name.
    pub(crate) async fn relay_holder(&self) -> String {
        let ask = async || {
            let asked = "SELECT holder FROM outbox_relay WHERE held_until > clock_timestamp()";
            let holder: Option<Option<String>> = sqlx::query_scalar(asked).fetch_optional(&self.pool).await.unwrap();
            holder.flatten().ok_or("nobody has it")
        };
        found("a relay has the lease", ask).await
    }
}
