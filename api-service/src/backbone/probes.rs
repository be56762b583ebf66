//! Probes each dependency every two seconds, independently of the others, and logs changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use shared::cache::Cache;
use shared::kafka::topics::setup::{self, WriteLimits};
use shared::kafka::{KafkaConfig, LogContext, PlainConsumer};
use shared::store::Store;
use tokio::time::{Instant, sleep, timeout};

use super::health::{Dependencies, Dependency, Health};
use crate::ingest::producer::Producer;

const EVERY: Duration = Duration::from_secs(2);
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the store waits for a connection and looks for the cause of a failure, so that its error is reported.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often at most a dependency that stays down is logged again because its error changed.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The retry interval while Kafka does not return the topic's settings.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The interval after it did: an operator may change them.
const RETRY_REFUSED_AFTER: Duration = Duration::from_secs(300);

pub struct Probes {
    /// Only for metadata; it never consumes.
    kafka: Arc<PlainConsumer>,
    kafka_settings: ClientConfig,
    /// The producers of this instance.
    producers: Vec<Producer>,
    /// The topics that it writes to or reads.
    topics: Vec<String>,
    store: Store,
    cache: Cache,
    /// The probes write the states here.
    health: Arc<Health>,
}

impl Probes {
    /// Connects on first use. `read` are the topics that are read here.
    pub fn new(
        config: &KafkaConfig,
        producers: &[Producer],
        read: Vec<String>,
        store: Store,
        cache: Cache,
        health: Arc<Health>,
    ) -> anyhow::Result<Self> {
        let mut kafka_settings = shared::kafka::client(config)?;
        shared::kafka::set_default(&mut kafka_settings, "client.id", "api-service-probe");
        // The result of each probe reports the client's errors already.
        kafka_settings.set("log_level", "0");
        let kafka = kafka_settings.create_with_context(LogContext).context("cannot create a Kafka client")?;
        let written = producers.iter().map(|producer| producer.topic().to_owned());
        let topics: Vec<String> = written.chain(read).collect();
        health.note(|all| {
            all.accepts_events = !producers.is_empty();
            all.kafka = (!topics.is_empty()).then(Dependency::default);
        });
        let (kafka, producers) = (Arc::new(kafka), producers.to_vec());
        Ok(Self { kafka, kafka_settings, producers, topics, store, cache, health })
    }

    /// Probes everything, forever.
    pub async fn run(self) {
        tokio::join!(kafka(&self), postgres(&self), redis(&self));
    }

    /// Whether Kafka has this topic, with a leader for each partition.
    async fn available(&self, topic: &str) -> anyhow::Result<()> {
        let (client, topic) = (Arc::clone(&self.kafka), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let metadata = client.fetch_metadata(Some(&topic), METADATA_TIMEOUT)?;
            // Drains the client's events: nothing else polls it.
            while client.poll(Duration::ZERO).is_some() {}
            let found = metadata.topics().first().context("no answer")?;
            ensure!(found.error().is_none() && !found.partitions().is_empty(), "the topic {topic} does not exist");
            ensure!(found.partitions().iter().all(|partition| partition.leader() >= 0), "a partition has no leader");
            Ok(())
        })
        .await?
    }
}

async fn kafka(probes: &Probes) {
    if probes.topics.is_empty() {
        // To call it up without having asked would be wrong.
        return;
    }
    let mut state = DependencyState::new("Kafka", |all| all.kafka.get_or_insert_default());
    let mut topics: Vec<Topic<'_>> = probes.producers.iter().map(Topic::new).collect();
    loop {
        // Side by side: an instance that starts is ready sooner.
        let available = join_all(probes.topics.iter().map(|topic| probes.available(topic))).await;
        let all_available: anyhow::Result<()> = available.into_iter().collect();
        let is_up = all_available.is_ok();
        let warning = |topics: &[Topic<'_>]| topics.iter().find_map(|topic| topic.warning);
        state.tell(&probes.health, all_available.map(|()| warning(&topics)));
        let mut asked = false;
        for topic in topics.iter_mut().filter(|topic| is_up && Instant::now() >= topic.ask_at) {
            topic.ask(&probes.kafka_settings).await;
            asked = true;
        }
        if asked && is_up {
            state.tell(&probes.health, Ok(warning(&topics)));
        } else {
            sleep(EVERY).await;
        }
    }
}

/// The state of one topic that this instance writes to.
struct Topic<'a> {
    producer: &'a Producer,
    ask_at: Instant,
    warning: Option<&'static str>,
    /// The last request for its settings failed, and was logged.
    refused: bool,
}

impl<'a> Topic<'a> {
    fn new(producer: &'a Producer) -> Self {
        Self { producer, ask_at: Instant::now(), warning: None, refused: false }
    }

    /// Requests its settings, which bound the producer's batches.
    async fn ask(&mut self, settings: &ClientConfig) {
        match setup::write_limits(settings, self.producer.topic()).await {
            Ok(limits) => {
                (self.refused, self.ask_at) = (false, Instant::now() + RETRY_REFUSED_AFTER);
                self.producer.learn(limits.max_message_bytes);
                self.warning = warning_of(&limits);
            }
            Err(error) => {
                let (topic, error) = (self.producer.topic(), format!("{error:#}"));
                if self.refused {
                    tracing::debug!(topic, error, "cannot read the input topic's settings");
                } else {
                    tracing::warn!(
                        topic,
                        error,
                        "cannot read the input topic's settings: this needs the right DescribeConfigs on the topic"
                    );
                }
                (self.refused, self.ask_at) = (true, Instant::now() + ASK_AGAIN);
            }
        }
    }
}

/// A warning if an acknowledged event may exist on one disk only.
fn warning_of(limits: &WriteLimits) -> Option<&'static str> {
    if limits.min_insync_replicas < 2 {
        Some("min.insync.replicas of the input topic is below 2")
    } else if limits.replicas.is_some_and(|replicas| replicas < 2) {
        Some("a partition of the input topic has fewer than 2 replicas")
    } else {
        None
    }
}

async fn postgres(probes: &Probes) {
    let mut state = DependencyState::new("PostgreSQL", |all| &mut all.postgres);
    loop {
        let found = timeout(STORE_TIMEOUT, probes.store.check()).await;
        let late = |_| anyhow!("PostgreSQL at {}: no answer within {STORE_TIMEOUT:?}", probes.store.server());
        state.tell(&probes.health, found.map_err(late).and_then(|found| Ok(found.map(|()| None)?)));
        sleep(EVERY).await;
    }
}

async fn redis(probes: &Probes) {
    let mut state = DependencyState::new("Redis", |all| &mut all.redis);
    loop {
        let asked = probes.cache.answering().await;
        let found = match (asked.answering, asked.nodes) {
            (0, _) => asked.all().map(|()| None),
            (some, all) => Ok((some < all).then_some("a node of the cluster does not answer")),
        };
        state.tell(&probes.health, found);
        sleep(EVERY).await;
    }
}

struct DependencyState {
    name: &'static str,
    place: fn(&mut Dependencies) -> &mut Dependency,
    before: Option<(Dependency, Instant)>,
}

impl DependencyState {
    fn new(name: &'static str, place: fn(&mut Dependencies) -> &mut Dependency) -> Self {
        Self { name, place, before: None }
    }

    /// Records the result of a probe, and logs it if it is new.
    fn tell(&mut self, health: &Health, found: anyhow::Result<Option<&'static str>>) {
        let now = match &found {
            Ok(warning) => Dependency { up: true, warning: *warning, error: None },
            Err(error) => Dependency { up: false, warning: None, error: Some(format!("{error:#}")) },
        };
        health.note(|all| *(self.place)(all) = now.clone());
        metrics::gauge!("dependency_up", "dependency" => self.name).set(if now.up { 1.0 } else { 0.0 });
        if self.before.as_ref().is_some_and(|(before, at)| is_logged(before, &now, at.elapsed())) {
            return;
        }
        match (&now.error, now.warning) {
            (None, None) => tracing::info!(dependency = self.name, "up"),
            (None, Some(warning)) => tracing::warn!(dependency = self.name, warning, "up"),
            (Some(error), _) => tracing::error!(dependency = self.name, error, "down"),
        }
        self.before = Some((now, Instant::now()));
    }
}

/// Whether the log has this already: `before` was logged `ago` earlier.
fn is_logged(before: &Dependency, now: &Dependency, ago: Duration) -> bool {
    (before.up, before.warning) == (now.up, now.warning) && (before.error == now.error || ago < LOG_AGAIN_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_at_once_and_another_reason_now_and_then() {
        let up = Dependency { up: true, ..Dependency::default() };
        let down = |error: &str| Dependency { error: Some(error.to_owned()), ..Dependency::default() };
        let (soon, late) = (Duration::from_secs(2), LOG_AGAIN_AFTER);
        assert!(is_logged(&up, &up, late) && !is_logged(&up, &down("a"), soon) && !is_logged(&down("a"), &up, soon));
        assert!(!is_logged(&up, &Dependency { warning: Some("w"), ..up.clone() }, soon));
        assert!(is_logged(&down("a"), &down("a"), late), "nothing is new");
        assert!(is_logged(&down("a"), &down("b"), soon) && !is_logged(&down("a"), &down("b"), late));
    }
}
