//! What a worker does: the handlers, each with its group and its topics, and the tasks beside them.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::BorrowedMessage;
use shared::cache::{Fencer, Kind};
use shared::kafka::Record;
use shared::kafka::TopicConfig;
use shared::runtime::config::AccessLog;
use shared::store::Store;

use crate::consumer::apply::Applier;
use crate::consumer::handler::Handler;
use crate::consumer::health::GroupHealth;
use crate::consumer::partition::{GapReader, Run, Tools, runner};
use crate::dead_letters::producer::DeadLetters;
use crate::observe::metrics;

/// What every handler is given.
#[derive(Clone)]
pub struct Dependencies {
    /// How to reach Kafka.
    pub client: ClientConfig,
    /// The tables.
    pub store: Store,
    /// Fences what is cached.
    pub fencer: Fencer,
    /// Which events have a line in the log.
    pub access_log: AccessLog,
    /// Reads a record.
    pub read: fn(&mut BorrowedMessage<'_>) -> Record,
}

/// A consumer group's names.
#[derive(Debug, Clone)]
pub struct Names {
    /// The group's id.
    pub group: String,
    /// Its topics.
    pub topics: TopicConfig,
}

type Start = Box<dyn FnOnce(&Dependencies, &GroupHealth) -> anyhow::Result<Run> + Send>;
type Task = Box<dyn Fn(&Dependencies) -> BoxFuture<'static, ()> + Send + Sync>;

/// A handler that was registered.
pub struct Group {
    /// Its handler's name.
    pub handler: &'static str,
    /// Its own names.
    pub names: Names,
    /// Starts it: gives what runs its partitions.
    pub start: Start,
}

/// What a worker does.
#[derive(Default)]
pub struct Registry {
    /// The handlers.
    pub groups: Vec<Group>,
    /// The tasks, by their names. One that panics is begun anew.
    pub tasks: Vec<(&'static str, Arc<Task>)>,
    /// What is cached.
    pub kinds: Vec<&'static Kind>,
}

impl Registry {
    /// Has a handler handle the events of a topic, as a consumer group.
    pub fn handler<H: Handler>(&mut self, handler: H, names: Names) -> &mut Self {
        let dlq = names.topics.dlq.clone();
        let start = move |given: &Dependencies, health: &GroupHealth| start(handler, given, health, &dlq);
        self.groups.push(Group { handler: H::NAME, names, start: Box::new(start) });
        self
    }

    /// Runs something beside the handlers, for as long as the worker runs.
    pub fn task<F>(&mut self, name: &'static str, run: impl Fn(&Dependencies) -> F + Send + Sync + 'static) -> &mut Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.push((name, Arc::new(Box::new(move |dependencies| run(dependencies).boxed()))));
        self
    }

    /// Things of this kind are cached.
    pub fn cached(&mut self, kind: &'static Kind) -> &mut Self {
        self.kinds.push(kind);
        self
    }
}

fn start<H: Handler>(handler: H, given: &Dependencies, health: &GroupHealth, dlq: &str) -> anyhow::Result<Run> {
    metrics::begin_group(health.group(), H::OUTCOMES);
    let Dependencies { client, store, fencer, access_log, read } = given.clone();
    Ok(runner(Arc::new(Tools {
        dead_letters: DeadLetters::new(&client, dlq, health.group())?,
        gap_reader: GapReader::new(&client, health.group()),
        client,
        group: health.group().to_owned(),
        store: store.clone(),
        read,
        applier: Applier::new(handler, store, fencer),
        access_log,
        health: health.clone(),
    })))
}
