//! More handlers beside the devices': `ones` and `twos` read a stream for tests, which `ones` owns; `watchers` reads
//! the stream of the devices without owning it. Each has a table of its name, with a row for each event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::devices::DeviceStream;
use shared::kafka::topics::setup::{TopicShape, create};
use shared::kafka::{Setting, Stream as _, StreamSpec, TopicConfig};
use shared::runtime::json::Payload;
use shared::store::{Journal, Once, Tx};
use sqlx::AssertSqlSafe;
use worker_service::config::{Command, DlqCommand};
use worker_service::consumer::event_lines::EventLines;
use worker_service::consumer::handler::Applied;
use worker_service::dead_letters::{list, purge, redrive};
use worker_service::devices::Devices;
use worker_service::domains;
use worker_service::source::{HandlerSpec, Source};

use crate::prelude::*;

pub(crate) const ONE: &str = "test.one.v1";
pub(crate) const TWO: &str = "test.two.v1";

const fn setting(default: &'static str) -> Setting {
    Setting::new("", "", default, "")
}

const SECOND: StreamSpec = StreamSpec {
    name: "second",
    topic: setting(""),
    dead_letters: setting(""),
    types: &[ONE, TWO],
    extensions: &[],
    transactional: false,
};

const fn spec(name: &'static str, stream: StreamSpec, owner: bool) -> HandlerSpec {
    const MATCHES: &str = "record_key = asked.key AND event_id = asked.id";
    let once = Once::Journal(Journal { table: name, matches: MATCHES, outcome: "'applied'" });
    HandlerSpec { name, group: setting(name), stream, owner, types: stream.types, once }
}

const SPECS: [HandlerSpec; 3] =
    [spec("ones", SECOND, true), spec("twos", SECOND, false), spec("watchers", DeviceStream::SPEC, false)];
/// The type that each of them processes.
const TAKES: [&str; 3] = [ONE, TWO, DeviceStream::SPEC.types[0]];

/// Faults of these handlers, triggered by an event's payload.
#[derive(Clone, Default)]
pub(crate) struct Trouble {
    /// `prepare` never returns for `{"do":"hang"}`.
    pub(crate) hangs: Arc<AtomicBool>,
    /// `apply` blocks its thread for `{"do":"block"}`.
    pub(crate) blocks: Arc<AtomicBool>,
}

/// Writes a row for each event, or does what its payload asks for.
struct Notes<const N: usize>(Trouble);

impl<const N: usize> Handler for Notes<N> {
    type Event = Payload;
    type Prepared = ();

    const SPEC: HandlerSpec = SPECS[N];
    const OUTCOMES: &'static [&'static str] = &["applied"];
    const LINES: EventLines = Devices::LINES;

    fn decode(envelope: &Envelope) -> Result<Option<Payload>, Refusal> {
        let (payload, takes) = (envelope.payload()?, envelope.event_type == TAKES[N]);
        assert!(!takes || payload.as_str() != r#"{"do":"panic early"}"#, "a defect");
        Ok(takes.then_some(payload))
    }

    async fn prepare(&self, batch: &[&Delivery<Payload>]) -> Result<(), Failure> {
        if self.0.hangs.load(Ordering::SeqCst) && batch.iter().any(|it| it.event.as_str().contains("hang")) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&Delivery<Payload>], (): &()) -> Result<Applied, Failure> {
        let mut applied = Applied::default();
        for Delivery { envelope, event, .. } in batch {
            let does = |what: &str| event.as_str() == format!(r#"{{"do":"{what}"}}"#);
            assert!(!does("panic"), "a defect");
            while does("block") && self.0.blocks.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if does("poison") {
                return Err(Failure::poison("it says so"));
            }
            if does("fail") {
                return Err(Failure::failed("it says so"));
            }
            let insert = format!("INSERT INTO {} VALUES ($1, $2) ON CONFLICT DO NOTHING", SPECS[N].name);
            let insert = sqlx::query(AssertSqlSafe(insert)).bind(envelope.key.as_str()).bind(envelope.id.as_str());
            insert.execute(&mut *tx).await?;
            applied.note("applied", true, None);
        }
        Ok(applied)
    }

    fn probe_event(_: Arc<str>, payload: Payload) -> (&'static str, Payload) {
        (TAKES[N], payload)
    }
}

impl Kit {
    /// The kit of one of these handlers, with its topics and its group. The first call creates the topics and tables.
    pub(crate) async fn beside(&self, name: &str) -> Self {
        let spec = SPECS.iter().find(|spec| spec.name == name).unwrap();
        let mut scope = self.scope.clone();
        scope.group = format!("{}-{name}", scope.group);
        if spec.stream.name == SECOND.name {
            scope.input_topic = format!("{}-second", scope.input_topic);
            scope.dlq_topic = format!("{}-second", scope.dlq_topic);
        }
        let Self { producer, pool, store, .. } = self;
        let kit = Self { scope, producer: producer.clone(), pool: pool.clone(), store: store.clone() };
        for HandlerSpec { name, .. } in SPECS {
            let make = format!("CREATE TABLE IF NOT EXISTS {name} (record_key text, event_id text PRIMARY KEY)");
            sqlx::raw_sql(AssertSqlSafe(make)).execute(&kit.pool).await.unwrap();
        }
        let shape =
            TopicShape { partitions: 1, replication: 1, min_insync_replicas: 1, compression: Default::default() };
        create(&client(&kit.scope), &kit.topics(), &shape).await.unwrap();
        kit
    }

    fn topics(&self) -> TopicConfig {
        TopicConfig { input: self.scope.input_topic.clone(), dlq: self.scope.dlq_topic.clone() }
    }

    /// The source of this handler, with these other handlers of its stream; `self` is the handler's kit.
    fn source(&self, name: &str, others: &[&Kit]) -> Source {
        let handler = *SPECS.iter().find(|spec| spec.name == name).unwrap();
        let other_groups = others.iter().map(|other| other.scope.group.clone()).collect();
        Source { handler, group: self.scope.group.clone(), topics: self.topics(), other_groups }
    }

    /// Writes an event of the test stream; `self` is the kit of one of its handlers.
    pub(crate) async fn event_of(&self, event_type: &str, key: &str, id: &str, payload: &str) -> (i32, i64) {
        self.event_with(key, id, payload, &[("ce_type", event_type)]).await
    }

    /// `dlq list --json` of these handlers together, each with its kit.
    pub(crate) async fn list_of(handlers: &[(&str, &Kit)], more: &[&str]) -> String {
        let args = [&["dlq", "list"], more].concat();
        let command = parse(&handlers[0].1.scope, &args);
        let Command::Dlq { command: DlqCommand::List(config) } = command else { panic!() };
        let sources: Vec<_> = handlers.iter().map(|(name, kit)| kit.source(name, &[])).collect();
        let mut out = Vec::new();
        list::run(&config.command, &sources, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Runs `dlq redrive` for a handler whose stream has another one; `self` is the handler's kit.
    pub(crate) async fn redrive_of(&self, name: &str, other: &Kit, more: &[&str]) -> redrive::Summary {
        let args = [&["dlq", "redrive"], more].concat();
        let command = parse(&self.scope, &args);
        let Command::Dlq { command: DlqCommand::Redrive(config) } = command else { panic!() };
        let source = self.source(name, &[other]);
        redrive::run(&config.command, &source, &[], &mut Vec::new()).await.unwrap()
    }

    /// Runs `dlq purge` for a handler whose stream has another one; `self` is the handler's kit.
    pub(crate) async fn purge_of(&self, name: &str, other: &Kit, more: &[&str]) -> purge::Summary {
        let args = [&["dlq", "purge", "--before=2100-01-01T00:00:00Z"], more].concat();
        let Command::Dlq { command: DlqCommand::Purge(config) } = parse(&self.scope, &args) else { panic!() };
        let source = self.source(name, &[other]);
        purge::run(&config.command, &source, &mut Vec::new()).await.unwrap()
    }

    /// A worker with the devices' handler and these; `only` selects the ones that it runs.
    pub(crate) async fn worker_beside(&self, only: &[&str], trouble: &Trouble, parts: Parts) -> Worker {
        let [ones, twos, watchers] =
            [self.beside("ones").await, self.beside("twos").await, self.beside("watchers").await];
        let mut config = run_config(&self.scope);
        config.only = only.iter().map(|&name| name.to_owned()).collect();
        let devices = &mut config.sources.0[0];
        devices.other_groups = vec![watchers.scope.group.clone()];
        let beside =
            [ones.source("ones", &[&twos]), twos.source("twos", &[&ones]), watchers.source("watchers", &[self])];
        config.sources.0.extend(beside);
        let mut registry = domains::registry();
        let [one, two, three] = [(); 3].map(|()| trouble.clone());
        registry.handler(|_| Ok(Notes::<0>(one))).handler(|_| Ok(Notes::<1>(two))).handler(|_| Ok(Notes::<2>(three)));
        Worker::start_with(&config, registry, parts).unwrap()
    }
}
