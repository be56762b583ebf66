//! What a worker does: the handlers, each a consumer group of its own, the tasks beside them, the commands of operators.
//! A domain registers what it brings; nothing here knows a domain.

mod command;
mod settings;

use std::sync::Arc;

use clap::{Args, Command};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::BorrowedMessage;
use shared::cache::{Fencer, Kind};
use shared::kafka::Record;
use shared::runtime::config::AccessLog;
use shared::store::Store;
use tokio_util::sync::CancellationToken;

pub use self::command::{CommandSpec, OperatorCommand, Out};
pub use self::settings::{Settings, SettingsSpec};
use crate::consumer::apply::Applier;
use crate::consumer::budget::ByteBudget;
use crate::consumer::group::Run;
use crate::consumer::handler::{Handler, Retention};
use crate::consumer::health::GroupHealth;
use crate::consumer::partition::{GapReader, RunnerDependencies, runner};
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

/// A handler that has started: what runs its partitions.
pub struct Started {
    /// Runs a partition.
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
    /// What it is.
    pub spec: HandlerSpec,
    /// Starts it.
    pub start: Start,
}

/// A task that was registered.
pub struct RegisteredTask {
    /// Its name.
    pub name: &'static str,
    /// Gives what runs it.
    pub start: StartTask,
}

/// What a worker does.
#[derive(Default)]
pub struct Registry {
    /// The handlers.
    pub handlers: Vec<RegisteredHandler>,
    /// The tasks.
    pub tasks: Vec<RegisteredTask>,
    /// What is cached.
    pub kinds: Vec<&'static Kind>,
    /// The settings of `run` that domains bring.
    pub settings: Vec<SettingsSpec>,
    /// The commands that domains bring.
    pub commands: Vec<CommandSpec>,
    /// What they do where topics were made.
    pub topics_made: Vec<TopicsMade>,
}

impl Registry {
    /// Has a handler handle the events of its stream, as a consumer group.
    pub fn handler<H: Handler>(
        &mut self,
        new: impl FnOnce(&Settings) -> anyhow::Result<H> + Send + 'static,
    ) -> &mut Self {
        let begin = move |given: &Dependencies, source: &Source, health: &GroupHealth| {
            start(new(&given.settings)?, given, source, health)
        };
        self.handlers.push(RegisteredHandler { spec: H::SPEC, start: Box::new(begin) });
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
    pub fn settings<C: Args + Send + Sync + 'static>(&mut self) -> &mut Self {
        self.settings.push(SettingsSpec::of::<C>());
        self
    }

    /// A command of operators.
    pub fn command<C: Args + OperatorCommand + 'static>(&mut self, command: Command) -> &mut Self {
        self.commands.push(CommandSpec::new::<C>(command));
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

    /// The names of all handlers and tasks.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.handlers.iter().map(|handler| handler.spec.name).chain(self.tasks.iter().map(|task| task.name))
    }

    /// Only handlers and tasks of these names; all of them where none is given.
    pub fn only(mut self, names: &[String]) -> Self {
        let is_named = |name: &str| names.is_empty() || names.iter().any(|named| named == name);
        self.handlers.retain(|handler| is_named(handler.spec.name));
        self.tasks.retain(|task| is_named(task.name));
        self
    }
}

fn start<H: Handler>(
    handler: H,
    given: &Dependencies,
    source: &Source,
    health: &GroupHealth,
) -> anyhow::Result<Started> {
    metrics::begin_group(health.group(), H::OUTCOMES);
    let Dependencies { client, store, fencer, access_log, read, budget, settings: _ } = given.clone();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_run_unless_some_are_named() {
        for (names, expected) in [
            (&[][..], &["settle", "relay"][..]),
            (&["relay"], &["relay"]),
            (&["relay", "settle", "relay"], &["settle", "relay"]),
        ] {
            let mut registry = Registry::default();
            registry.task("settle", |_| Ok(|_| async {})).task("relay", |_| Ok(|_| async {}));
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            assert!(registry.only(&names).names().eq(expected.iter().copied()), "{names:?}");
        }
    }
}
