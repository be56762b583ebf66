//! Builds the worker from its settings, and shuts it down in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rdkafka::message::BorrowedMessage;
use shared::cache::{Cache, Fencer};
use shared::kafka::{self, Record};
use shared::runtime::{lifecycle, ops, telemetry};
use shared::store::Store;
use shared::store::outbox::doorbell::Doorbell;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::RunConfig;
use crate::consumer::budget::ByteBudget;
use crate::consumer::group::SharedConsumer;
use crate::consumer::health::{GroupHealth, Health};
use crate::consumer::lag::{Lag, LogEnds};
use crate::consumer::poll;
use crate::consumer::registry::{Dependencies, RegisteredTask, Registry, Start, Started};
use crate::consumer::tasks::{self, TaskHealth};
use crate::consumer::topic_check::TopicWatch;
use crate::domains;
use crate::observe::{self, panics};
use crate::source::Source;

/// Limit to finish the work, commit and leave the groups. With the last fences (2 s), traces (3 s) and the log (1 s), a
/// shutdown takes 21 s at most, even if every dependency is down.
const SHUTDOWN: Duration = Duration::from_secs(15);

/// How long a shutdown retries pending fences: Redis may recover any moment, and fences are lost with the process.
const LAST_FENCES: Duration = Duration::from_secs(2);

/// Limit of the first check of the topics' settings.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Runs a worker until it receives a termination signal.
pub async fn run(config: &RunConfig) -> anyhow::Result<()> {
    let termination = lifecycle::termination().context("cannot wait for signals")?;
    telemetry::start_log(&config.log)?;
    telemetry::traces::start(&config.traces, "worker-service")?;
    let metrics = telemetry::start_metrics()?;
    let registry = domains::registry();
    observe::metrics::describe();
    registry.describe.iter().for_each(|describe| describe());
    let bind = config.ops.bind;
    let ops = TcpListener::bind(bind).await.with_context(|| format!("OPS_BIND={bind}"))?;
    let mut worker = Worker::start_with(config, registry, Parts::default())?;
    let health = worker.health.clone();
    tokio::spawn(ops::serve(ops, metrics, move || std::future::ready(health.report())));
    tracing::info!(ops = %bind, "the worker runs");

    tokio::select! {
        signal = termination => {
            tracing::info!(signal, "shutting down: finishing the work in progress");
            worker.stop().await?;
            telemetry::traces::stop().await;
            tracing::info!("the worker has ended");
            Ok(())
        }
        outcome = worker.ended() => {
            // Another process continues from the committed offsets; the other groups finish their work before.
            if let Err(error) = worker.stop().await {
                tracing::error!(error = format!("{error:#}"), "another group could not continue either");
            }
            outcome.context("the worker cannot continue")
        }
    }
}

/// How often the gauge of held bytes is updated.
const BUDGET_INTERVAL: Duration = Duration::from_secs(1);

/// Dependencies and intervals that are not settings. Tests replace them.
#[derive(Debug, Clone)]
pub struct Parts {
    pub read: fn(&mut BorrowedMessage<'_>) -> Record,
    /// How long a partition may stand still for no known reason before its runner is restarted. A runner reports every
    /// wait, and each wait has a deadline of seconds.
    pub stall_timeout: Duration,
    /// How often the broker's committed offset is compared with the stored one. Much longer than the client's commit
    /// interval.
    pub compare_interval: Duration,
    /// How often the topics' settings are checked.
    pub topics_interval: Duration,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            read: Record::read,
            stall_timeout: Duration::from_secs(180),
            compare_interval: Duration::from_secs(30),
            topics_interval: Duration::from_secs(300),
        }
    }
}

/// A running worker.
pub struct Worker {
    pub health: Health,
    fencer: Fencer,
    stop: CancellationToken,
    ends: FuturesUnordered<oneshot::Receiver<anyhow::Result<()>>>,
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts a worker. It connects by itself, and waits for dependencies that are down.
    pub fn start(config: &RunConfig) -> anyhow::Result<Self> {
        Self::start_with(config, domains::registry(), Parts::default())
    }

    /// Like [`Self::start`], with these handlers, tasks and parts.
    pub fn start_with(config: &RunConfig, registry: Registry, parts: Parts) -> anyhow::Result<Self> {
        // All domains: another process may run the others.
        registry.check()?;
        let Registry { handlers, tasks, kinds, .. } = registry.only(&config.only);
        let client = kafka::client(&config.kafka)?;
        let store = Store::open(&config.stores.postgres, "worker-service")?;
        let cache = Cache::open(&config.stores.redis, &kinds)?;
        let fencer = Fencer::new(cache.clone(), store.clone());
        let budget = ByteBudget::new(config.max_bytes_in_hand);
        let given = Dependencies {
            client,
            doorbell: Doorbell::new(store.clone()),
            store,
            postgres: config.stores.postgres.clone(),
            fencer: fencer.clone(),
            access_log: config.access_log.access_log,
            read: parts.read,
            budget: budget.clone(),
            settings: config.domains.0.clone(),
            sources: config.sources.0.as_slice().into(),
        };
        let stop = CancellationToken::new();
        let (mut healths, ends) = (Vec::new(), FuturesUnordered::new());
        for handler in handlers {
            let source = given.source(handler.spec.name)?;
            let health = GroupHealth::new(&source.group);
            healths.push(health.clone());
            ends.push(start_group(handler.start, source, config, &parts, &given, health, stop.clone())?);
        }
        let runtime = Handle::current();
        let (mut task_healths, mut running) = (Vec::new(), JoinSet::new());
        for RegisteredTask { name, start } in tasks {
            let health = TaskHealth::new(name);
            task_healths.push(health.clone());
            running.spawn_on(tasks::keep_running(start(&given)?, stop.clone(), health), &runtime);
        }
        let (emf, reported) = (config.emf.clone(), task_healths.clone());
        runtime.spawn(async move { panics::keep_running("task-metrics", || tasks::report(&emf, &reported)).await });
        let health = Health::new(healths, task_healths);
        let doorbell = given.doorbell.clone();
        runtime.spawn(async move { panics::keep_running("doorbell", || doorbell.run()).await });
        let (fences, watched, shown) = (fencer.clone(), fencer.clone(), health.clone());
        runtime.spawn(async move { panics::keep_running("fences", || fences.run()).await });
        runtime.spawn(async move { panics::keep_running("cache", || shown.watch_cache(&cache, &watched)).await });
        runtime.spawn(async move { panics::keep_running("budget", || show_budget(&budget)).await });
        Ok(Self { health, fencer, stop, ends, tasks: running })
    }

    /// Waits until the worker ends by itself, which only a fatal error causes.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match self.ends.next().await {
            Some(ended) => ended?,
            // This worker runs only tasks.
            None => std::future::pending().await,
        }
    }

    /// Finishes the work in progress, commits, leaves the groups, and sends pending fences.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.health.stopping();
        self.stop.cancel();
        let all = async {
            let mut outcome = Ok(());
            while let Some(ended) = self.ends.next().await {
                outcome = outcome.and(ended?);
            }
            while self.tasks.join_next().await.is_some() {}
            outcome
        };
        let outcome = tokio::time::timeout(SHUTDOWN, all).await.unwrap_or_else(|_| {
            tracing::warn!("the shutdown timed out: uncommitted records will be read again");
            Ok(())
        });
        if !self.fencer.finish(LAST_FENCES).await {
            tracing::warn!("Redis is away: cached states of some resources may be stale until their TTL ends");
        }
        outcome
    }
}

/// Updates the gauge of held bytes, forever.
async fn show_budget(budget: &ByteBudget) {
    loop {
        metrics::gauge!("bytes_in_hand").set(budget.used() as f64);
        tokio::time::sleep(BUDGET_INTERVAL).await;
    }
}

/// Starts a consumer group: its polling thread and its lag measurement. The receiver gets the group's result.
fn start_group(
    start: Start,
    source: &Source,
    config: &RunConfig,
    parts: &Parts,
    given: &Dependencies,
    health: GroupHealth,
    stop: CancellationToken,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let Started { run, retention } = start(given, source, &health)?;
    let Dependencies { client, store, .. } = given.clone();
    let topic = source.topics.input.clone();
    let consumer = SharedConsumer::default();
    let lag = Lag {
        consumer: Arc::clone(&consumer),
        log_ends: LogEnds::open(&client)?,
        topic: topic.clone(),
        health: health.clone(),
        emf: config.emf.clone(),
        stall_timeout: parts.stall_timeout,
        compare_interval: parts.compare_interval,
    };
    let runtime = Handle::current();
    runtime.spawn(lag.run());
    let mut watch = TopicWatch::new(client.clone(), source.topics.clone(), retention, health.clone());
    let (ended, end) = oneshot::channel();
    let topics_interval = parts.topics_interval;
    // Beside the joining, which does not depend on it.
    runtime.spawn(async move {
        let _ = tokio::time::timeout(FIRST_LOOK, watch.look()).await;
        watch.run(topics_interval).await;
    });
    std::thread::Builder::new().name("poll".into()).spawn(move || {
        wait_for_schema(&runtime, &store, &health, &stop);
        let group = health.group().to_owned();
        let outcome = poll::run(&client, &topic, run, health, runtime, &consumer, &stop);
        if let Err(error) = &outcome {
            tracing::error!(group, error = format!("{error:#}"), "a group cannot go on: the process ends");
        }
        let _ = ended.send(outcome);
    })?;
    Ok(end)
}

/// The worker starts without PostgreSQL, and waits for it and its schema before it joins the group: joining earlier
/// would take partitions away from workers that can process them.
fn wait_for_schema(runtime: &Handle, store: &Store, health: &GroupHealth, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        match runtime.block_on(store.check()) {
            Ok(()) => {
                health.waits_before_joining(None);
                return;
            }
            Err(error) => {
                tracing::error!(group = health.group(), %error, "waiting for PostgreSQL");
                health.waits_before_joining(Some(format!("waiting for PostgreSQL: {error}")));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
