//! Looks at each dependency every two seconds, each at its own pace, and logs what changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use shared::kafka::topics::setup::{self, WriteLimits};
use tokio::time::{Instant, sleep, timeout};

use crate::app::App;
use crate::config::Config;
use crate::health::{Dependencies, Dependency};
use crate::kafka_log::LogContext;

const EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the store waits for a connection, and then looks why there is none: its words are what is told.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// A dependency that stays down is told again where the reason is another one, at most so often.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// How soon the topic's settings are asked for again where they were not told.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// And where they were: an operator may change them.
const ASK_ANEW: Duration = Duration::from_secs(300);

/// Asks Kafka whether the input topic can be written. It is a consumer that never consumes.
pub struct KafkaProbe {
    client: Arc<BaseConsumer<LogContext>>,
    settings: ClientConfig,
    topic: String,
}

impl KafkaProbe {
    /// A probe; it connects when it is first used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let mut settings = shared::kafka::client(&config.kafka)?;
        settings.set("client.id", "api-service-probe");
        // What it meets is told by the probe's outcome, once.
        settings.set("log_level", "0");
        let client = settings.create_with_context(LogContext).context("the Kafka settings")?;
        Ok(Self { client: Arc::new(client), settings, topic: config.topics.input.clone() })
    }

    async fn writable(&self) -> anyhow::Result<()> {
        let (client, topic) = (Arc::clone(&self.client), self.topic.clone());
        tokio::task::spawn_blocking(move || {
            let metadata = client.fetch_metadata(Some(&topic), PATIENCE)?;
            // Nobody else takes what the client has to say.
            while client.poll(Duration::ZERO).is_some() {}
            let found = metadata.topics().first().context("no answer")?;
            ensure!(found.error().is_none() && !found.partitions().is_empty(), "the topic {topic} is not there");
            ensure!(found.partitions().iter().all(|partition| partition.leader() >= 0), "a partition has no leader");
            Ok(())
        })
        .await?
    }
}

/// Looks after everything, for ever.
pub async fn run(app: App) {
    tokio::join!(kafka(&app), postgres(&app), redis(&app));
}

async fn kafka(app: &App) {
    let mut state = Told::new("Kafka", |all| &mut all.kafka);
    let mut warning = None;
    let mut ask_at = Instant::now();
    let mut refused = false;
    loop {
        let writable = app.probe.writable().await;
        let ask = writable.is_ok() && Instant::now() >= ask_at;
        state.tell(app, writable.map(|()| warning));
        if !ask {
            sleep(EVERY).await;
            continue;
        }
        match setup::write_limits(&app.probe.settings, &app.probe.topic).await {
            Ok(limits) => {
                ask_at = Instant::now() + ASK_ANEW;
                app.producer.learn(limits.max_message_bytes);
                warning = warning_of(&limits);
                state.tell(app, Ok(warning));
            }
            Err(error) => {
                let error = format!("{error:#}");
                if refused {
                    tracing::debug!(error, "the input topic's settings are not known");
                } else {
                    tracing::warn!(error, "the input topic's settings are not known: it takes DescribeConfigs on it");
                }
                (refused, ask_at) = (true, Instant::now() + ASK_AGAIN);
            }
        }
    }
}

/// Where an acknowledgement is one disk's word.
fn warning_of(limits: &WriteLimits) -> Option<&'static str> {
    if limits.min_insync_replicas < 2 {
        Some("min.insync.replicas of the input topic is below 2")
    } else if limits.replicas.is_some_and(|replicas| replicas < 2) {
        Some("a partition of the input topic has fewer than 2 replicas")
    } else {
        None
    }
}

async fn postgres(app: &App) {
    let mut state = Told::new("PostgreSQL", |all| &mut all.postgres);
    loop {
        let found = match timeout(STORE_TIMEOUT, app.store.check()).await {
            Ok(found) => found.map_err(anyhow::Error::from),
            Err(_) => Err(anyhow::anyhow!("PostgreSQL at {}: no answer within {STORE_TIMEOUT:?}", app.store.server())),
        };
        state.tell(app, found.map(|()| None));
        sleep(EVERY).await;
    }
}

async fn redis(app: &App) {
    let mut state = Told::new("Redis", |all| &mut all.redis);
    loop {
        let asked = app.cache.answering().await;
        let found = match (asked.answering, asked.nodes) {
            (0, _) => asked.all().map(|()| None),
            (some, all) => Ok((some < all).then_some("a node of the cluster does not answer")),
        };
        state.tell(app, found);
        sleep(EVERY).await;
    }
}

struct Told {
    name: &'static str,
    place: fn(&mut Dependencies) -> &mut Dependency,
    before: Option<(Dependency, Instant)>,
}

impl Told {
    fn new(name: &'static str, place: fn(&mut Dependencies) -> &mut Dependency) -> Self {
        Self { name, place, before: None }
    }

    /// Notes what was found out, and logs it where it is new.
    fn tell(&mut self, app: &App, found: anyhow::Result<Option<&'static str>>) {
        let now = match &found {
            Ok(warning) => Dependency { up: true, warning: *warning, error: None },
            Err(error) => Dependency { up: false, warning: None, error: Some(format!("{error:#}")) },
        };
        app.health.note(|all| *(self.place)(all) = now.clone());
        metrics::gauge!("dependency_up", "dependency" => self.name).set(if now.up { 1.0 } else { 0.0 });
        if self.before.as_ref().is_some_and(|(before, at)| is_told(before, &now, at.elapsed())) {
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

/// Whether the log says it already: what was told last, so long ago.
fn is_told(before: &Dependency, now: &Dependency, ago: Duration) -> bool {
    (before.up, before.warning) == (now.up, now.warning) && (before.error == now.error || ago < TELL_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_at_once_and_another_reason_now_and_then() {
        let up = Dependency { up: true, ..Dependency::default() };
        let down = |error: &str| Dependency { error: Some(error.to_owned()), ..Dependency::default() };
        let (soon, late) = (Duration::from_secs(2), TELL_AGAIN);
        assert!(is_told(&up, &up, late) && !is_told(&up, &down("a"), soon) && !is_told(&down("a"), &up, soon));
        assert!(!is_told(&up, &Dependency { warning: Some("w"), ..up.clone() }, soon));
        assert!(is_told(&down("a"), &down("a"), late), "nothing is new");
        assert!(is_told(&down("a"), &down("b"), soon) && !is_told(&down("a"), &down("b"), late));
    }
}
