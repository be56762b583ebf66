//! What a worker does: the handlers, each a consumer group of its own, the tasks beside them, the commands of operators.
//! A domain registers what it brings; nothing here knows a domain.

use std::fmt::{self, Debug};
use std::io::Write;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, Error};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::BorrowedMessage;
use shared::cache::{Fencer, Kind};
use shared::kafka::Record;
use shared::runtime::config::AccessLog;
use shared::store::Store;
use tokio_util::sync::CancellationToken;

use crate::consumer::apply::Applier;
use crate::consumer::budget::ByteBudget;
use crate::consumer::group::Run;
use crate::consumer::handler::{Handler, Retention};
use crate::consumer::health::GroupHealth;
use crate::consumer::partition::{GapReader, RunnerDependencies, runner};
use crate::consumer::seek::AfterRestore;
use crate::consumer::tasks::RunTask;
use crate::dead_letters::producer::DeadLetters;
use crate::observe::metrics;
use crate::source::{HandlerSpec, Source};

/// What every handler and every task is given.
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
    /// What all partitions of the process may hold.
    pub budget: ByteBudget,
    /// What domains have as settings.
    pub settings: Settings,
}

/// What domains' own settings are, by their types: each is a clap struct that stands beside what it configures.
#[derive(Clone, Default)]
pub struct Settings(ArgMatches);

impl Settings {
    /// Those of this command line.
    pub fn new(matches: ArgMatches) -> Self {
        Self(matches)
    }

    /// Those of a struct, which a domain has registered: clap panics if none has.
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

/// A handler that has started: what runs its partitions.
pub struct Started {
    pub run: Run,
    /// For how long the handler recognises events that come again, where there is an end to it.
    pub retention: Option<Retention>,
}

/// Starts a handler.
pub type Start = Box<dyn FnOnce(&Dependencies, &Source, &GroupHealth) -> anyhow::Result<Started> + Send>;
/// Gives what runs a task.
pub type StartTask = Box<dyn FnOnce(&Dependencies) -> anyhow::Result<RunTask> + Send>;

/// What a domain does where topics were made.
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

/// Where a command says what it did.
pub type Out<'a> = &'a mut (dyn Write + Send);

/// The settings of a command of operators, and what it does.
pub trait OperatorCommand: Debug + Send + Sync {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// A command that was registered.
pub struct CommandSpec {
    pub command: Command,
    pub read: fn(&ArgMatches) -> Result<Arc<dyn OperatorCommand>, Error>,
}

/// What a worker does.
#[derive(Default)]
pub struct Registry {
    pub handlers: Vec<RegisteredHandler>,
    pub tasks: Vec<RegisteredTask>,
    /// What is cached.
    pub kinds: Vec<&'static Kind>,
    /// Each adds the settings of `run` that a domain brings.
    pub settings: Vec<fn(Command) -> Command>,
    /// The commands that domains bring.
    pub commands: Vec<CommandSpec>,
    /// What they do where topics were made.
    pub topics_made: Vec<TopicsMade>,
    /// What they do after PostgreSQL was restored.
    pub after_restore: Vec<AfterRestore>,
}

impl Registry {
    /// Has a handler handle the events of its stream, as a consumer group.
    pub fn handler<H: Handler>(
        &mut self,
        new: impl FnOnce(&Settings) -> anyhow::Result<H> + Send + 'static,
    ) -> &mut Self {
        let start = move |given: &Dependencies, source: &Source, health: &GroupHealth| {
            let Dependencies { client, store, fencer, access_log, read, budget, settings } = given.clone();
            let handler = new(&settings)?;
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

    /// Runs something beside the handlers, until the worker ends. What is given here makes it; what that gives is run,
    /// and run again where it panicked.
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

    /// Settings of `run`, for handlers and tasks.
    pub fn settings<C: Args>(&mut self) -> &mut Self {
        self.settings.push(C::augment_args);
        self
    }

    /// A command of operators.
    pub fn command<C: Args + OperatorCommand + 'static>(&mut self, command: Command) -> &mut Self {
        self.commands.push(CommandSpec {
            command: C::augment_args(command),
            read: |matches| Ok(Arc::new(C::from_arg_matches(matches)?)),
        });
        self
    }

    /// Things of this kind are cached.
    pub fn cached(&mut self, kind: &'static Kind) -> &mut Self {
        self.kinds.push(kind);
        self
    }

    /// What to do where `setup` made topics, whose offsets begin at 0 again.
    pub fn topics_made(&mut self, hook: TopicsMade) -> &mut Self {
        self.topics_made.push(hook);
        self
    }

    /// What to do after PostgreSQL was restored to an earlier time: `seek` does it when it has rewound a group, and before
    /// it clears the cache. It does it for each group, and again where it is repeated.
    pub fn after_restore(&mut self, hook: AfterRestore) -> &mut Self {
        self.after_restore.push(hook);
        self
    }

    /// The names of all handlers and tasks.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.handlers.iter().map(|handler| handler.spec.name).chain(self.tasks.iter().map(|task| task.name))
    }

    /// Only handlers and tasks of these names, in any case; all of them if none is given.
    pub fn only(mut self, names: &[String]) -> Self {
        let is_named = |name: &str| names.is_empty() || names.iter().any(|named| named.eq_ignore_ascii_case(name));
        self.handlers.retain(|handler| is_named(handler.spec.name));
        self.tasks.retain(|task| is_named(task.name));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_run_unless_some_are_named() {
        for (names, expected) in [
            (&[][..], &["settle", "relay"][..]),
            (&["relay"], &["relay"]),
            (&["Relay"], &["relay"]),
            (&["relay", "settle", "relay"], &["settle", "relay"]),
        ] {
            let mut registry = Registry::default();
            registry.task("settle", |_| Ok(|_| async {})).task("relay", |_| Ok(|_| async {}));
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            assert!(registry.only(&names).names().eq(expected.iter().copied()), "{names:?}");
        }
    }
}
