//! The registry of a worker: its handlers, each a consumer group of its own, its tasks, and its operators' commands.
//! Each domain registers its own; nothing here knows a domain.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{ArgMatches, Args, Command, Error};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::BorrowedMessage;
use shared::cache::{Fencer, Kind};
use shared::kafka::Record;
use shared::kafka::schemas::Published;
use shared::runtime::config::{AccessLog, with_args};
use shared::runtime::unique::ensure_unique;
use shared::store::outbox::doorbell::Doorbell;
use shared::store::{Colocated, Indexes, PostgresConfig, Store};
use tokio_util::sync::CancellationToken;

use crate::consumer::apply::Applier;
use crate::consumer::budget::ByteBudget;
use crate::consumer::group::Run;
use crate::consumer::handler::{Handler, Retention};
use crate::consumer::health::GroupHealth;
use crate::consumer::offset_fence::OffsetFences;
use crate::consumer::partition::{GapReader, RunnerDependencies, runner};
use crate::consumer::seek::AfterRestore;
use crate::consumer::tasks::RunTask;
use crate::dead_letters::producer::DeadLetters;
use crate::observe::metrics;
use crate::source::{HandlerSpec, Source, ensure_owners};

/// The dependencies of every handler and every task.
#[derive(Clone)]
pub struct Dependencies {
    /// How to reach Kafka.
    pub client: ClientConfig,
    /// PostgreSQL.
    pub store: Store,
    /// How to reach PostgreSQL, for a task that needs connections of its own.
    pub postgres: PostgresConfig,
    /// Wakes the relay of the outbox; for a handler that publishes.
    pub doorbell: Doorbell,
    /// Fences cache entries.
    pub fencer: Fencer,
    /// Which events are logged.
    pub access_log: AccessLog,
    /// Reads a record.
    pub read: fn(&mut BorrowedMessage<'_>) -> Record,
    /// The bytes that all partitions of the process may hold.
    pub budget: ByteBudget,
    /// The domains' own settings.
    pub settings: Settings,
    /// What each handler reads, also those that this process does not run.
    pub sources: Arc<[Source]>,
}

impl Dependencies {
    /// What the handler with this name reads.
    pub fn source(&self, handler: &str) -> anyhow::Result<&Source> {
        let source = self.sources.iter().find(|source| source.handler.name == handler);
        source.with_context(|| format!("the handler {handler} has no settings"))
    }

    /// What the owner of the stream reads whose records come from the outbox.
    pub fn outbox_source(&self) -> anyhow::Result<&Source> {
        let mut sources = self.sources.iter();
        let source = sources.find(|source| source.handler.stream.transactional && source.handler.owner);
        source.context("no stream is written through the outbox")
    }

    /// Fences in the topic of the handler with this name.
    pub fn offset_fences(&self, handler: &str) -> anyhow::Result<OffsetFences> {
        OffsetFences::open(&self.client, self.source(handler)?)
    }
}

/// The domains' own settings, by type: each is a clap struct next to the code that it configures.
#[derive(Clone, Default)]
pub struct Settings(ArgMatches);

impl Settings {
    /// The settings of this command line.
    pub fn new(matches: ArgMatches) -> Self {
        Self(matches)
    }

    /// The settings of type `C`. A domain must have registered it, or clap panics.
    pub fn of<C: Args>(&self) -> anyhow::Result<C> {
        Ok(C::from_arg_matches(&self.0)?)
    }
}

impl Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // They may hold secrets.
        f.write_str("Settings")
    }
}

/// A handler that has started.
pub struct Started {
    pub run: Run,
    /// How long the handler recognises repeated events; `None` means for ever.
    pub retention: Option<Retention>,
}

/// Starts a handler.
pub type Start = Box<dyn FnOnce(&Dependencies, &Source, &GroupHealth) -> anyhow::Result<Started> + Send>;
/// Creates the function that runs a task.
pub type StartTask = Box<dyn FnOnce(&Dependencies) -> anyhow::Result<RunTask> + Send>;

/// What a domain does after topics were created.
pub type TopicsMade = for<'a> fn(&'a Store, &'a [String]) -> BoxFuture<'a, anyhow::Result<()>>;

/// A handler that was registered.
pub struct RegisteredHandler {
    pub spec: HandlerSpec,
    pub start: Start,
}

/// A task that was registered.
pub struct RegisteredTask {
    pub name: &'static str,
    pub start: StartTask,
}

/// The output of a command.
pub type Out<'a> = &'a mut (dyn Write + Send);

/// An operators' command with its settings.
pub trait OperatorCommand: Debug + Send + Sync {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// A command that was registered.
pub struct CommandSpec {
    pub command: Command,
    pub read: fn(&ArgMatches) -> Result<Arc<dyn OperatorCommand>, Error>,
}

/// Everything that the domains have registered.
#[derive(Default)]
pub struct Registry {
    pub handlers: Vec<RegisteredHandler>,
    pub tasks: Vec<RegisteredTask>,
    /// The kinds of cached resources.
    pub kinds: Vec<&'static Kind>,
    /// The indexes of the domains' tables, which `setup` makes.
    pub indexes: Vec<Indexes>,
    /// The tables that `setup --distribute` distributes.
    pub distributed: Vec<Colocated>,
    /// Each describes a domain's metrics.
    pub describe: Vec<fn()>,
    /// Each adds a domain's settings to `run`.
    pub settings: Vec<fn(Command) -> Command>,
    /// What the domains publish.
    pub published: Vec<&'static Published>,
    /// The domains' commands.
    pub commands: Vec<CommandSpec>,
    /// The domains' hooks after topics were created.
    pub topics_made: Vec<TopicsMade>,
    /// The domains' hooks after PostgreSQL was restored.
    pub after_restore: Vec<AfterRestore>,
}

impl Registry {
    /// Registers a handler, which handles the events of its stream as a consumer group.
    pub fn handler<H: Handler>(
        &mut self,
        new: impl FnOnce(&Dependencies) -> anyhow::Result<H> + Send + 'static,
    ) -> &mut Self {
        let start = move |given: &Dependencies, source: &Source, health: &GroupHealth| {
            let Dependencies { client, store, fencer, access_log, read, budget, .. } = given.clone();
            let handler = new(given)?;
            metrics::begin_group(health.group(), H::OUTCOMES);
            let retention = handler.retention();
            let run = runner(Arc::new(RunnerDependencies {
                dead_letters: DeadLetters::new(&client, &source.topics.dlq, health.group())?,
                gap_reader: GapReader::new(&client, health.group()),
                client,
                source: source.clone(),
                store: store.clone(),
                read,
                applier: Applier::new(handler, store, fencer),
                access_log,
                budget,
                health: health.clone(),
            }));
            Ok(Started { run, retention })
        };
        self.handlers.push(RegisteredHandler { spec: H::SPEC, start: Box::new(start) });
        self
    }

    /// Registers a task, which runs beside the handlers until the worker ends. `new` creates the task's function, which
    /// is run, and run again if it panics.
    pub fn task<R, F>(
        &mut self,
        name: &'static str,
        new: impl FnOnce(&Dependencies) -> anyhow::Result<R> + Send + 'static,
    ) -> &mut Self
    where
        R: Fn(CancellationToken) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let start = move |given: &Dependencies| {
            let run = new(given)?;
            Ok(Box::new(move |stop| run(stop).boxed()) as RunTask)
        };
        self.tasks.push(RegisteredTask { name, start: Box::new(start) });
        self
    }

    /// Registers settings of `run`, for handlers and tasks.
    pub fn settings<C: Args>(&mut self) -> &mut Self {
        self.settings.push(with_args::<C>);
        self
    }

    /// Registers an operators' command. `--help` describes it by its `about`.
    pub fn command<C: Args + OperatorCommand + 'static>(&mut self, command: Command) -> &mut Self {
        self.commands.push(CommandSpec {
            command: with_args::<C>(command),
            read: |matches| Ok(Arc::new(C::from_arg_matches(matches)?)),
        });
        self
    }

    /// Registers the schemas of the events that a domain publishes on a stream.
    pub fn publishes(&mut self, published: &'static Published) -> &mut Self {
        self.published.push(published);
        self
    }

    /// Registers a kind of cached resources.
    pub fn cached(&mut self, kind: &'static Kind) -> &mut Self {
        self.kinds.push(kind);
        self
    }

    /// Registers indexes of the domain's tables.
    pub fn indexes(&mut self, indexes: Indexes) -> &mut Self {
        self.indexes.push(indexes);
        self
    }

    /// Registers tables of the domain that can be distributed over the nodes of a cluster.
    pub fn distributed(&mut self, tables: Colocated) -> &mut Self {
        self.distributed.push(tables);
        self
    }

    /// Registers a function that describes the domain's own metrics, and starts those at 0 that alerts use.
    pub fn describe(&mut self, describe: fn()) -> &mut Self {
        self.describe.push(describe);
        self
    }

    /// Registers a hook for when `setup` has created topics, whose offsets start at 0 again.
    pub fn topics_made(&mut self, hook: TopicsMade) -> &mut Self {
        self.topics_made.push(hook);
        self
    }

    /// Registers a hook for when PostgreSQL was restored to an earlier time: `seek` calls it after it has rewound a
    /// group and before it clears the cache. It is called for each group, and again whenever `seek` is repeated.
    pub fn after_restore(&mut self, hook: AfterRestore) -> &mut Self {
        self.after_restore.push(hook);
        self
    }

    /// Refuses names that two of the domains use: of a handler or a task, of a command, of a stream, of the keys in the
    /// cache. And each stream has one owner, and one stream at most is written through the outbox.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure_unique("handlers or tasks", self.names())?;
        let commands = self.commands.iter().map(|spec| &spec.command);
        ensure_unique("commands", commands.flat_map(names_of))?;
        Kind::ensure_apart(&self.kinds)?;
        let first_versions = self.published.iter().flat_map(|one| one.schemas).filter(|schema| schema.version == 1);
        ensure_unique("published types of events", first_versions.map(|schema| schema.event_type))?;
        let specs = || self.handlers.iter().map(|handler| handler.spec);
        let mut streams = HashMap::new();
        for HandlerSpec { stream, .. } in specs() {
            let known = streams.entry(stream.name).or_insert(stream);
            anyhow::ensure!(*known == stream, "two different streams have the name {:?}", stream.name);
            stream.check_extensions()?;
        }
        let written = streams.values().filter(|stream| stream.transactional).map(|stream| stream.name);
        let written: Vec<_> = written.collect();
        anyhow::ensure!(written.len() <= 1, "several streams are written through the outbox: {}", written.join(", "));
        ensure_owners(specs())
    }

    /// The names of all handlers and tasks.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.handlers.iter().map(|handler| handler.spec.name).chain(self.tasks.iter().map(|task| task.name))
    }

    /// Keeps only handlers and tasks with these names, in any case; without a name, all of them.
    pub fn only(mut self, names: &[String]) -> Self {
        let is_named = |name: &str| names.is_empty() || names.iter().any(|named| named.eq_ignore_ascii_case(name));
        self.handlers.retain(|handler| is_named(handler.spec.name));
        self.tasks.retain(|task| is_named(task.name));
        self
    }
}

/// A command's name and its other names.
pub fn names_of(command: &Command) -> impl Iterator<Item = &str> {
    std::iter::once(command.get_name()).chain(command.get_all_aliases())
}

#[cfg(test)]
mod tests;
