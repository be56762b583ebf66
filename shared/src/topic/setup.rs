//! Makes both topics, and looks whether they are as they should be.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use clap::value_parser;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, AlterConfig, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::{Instant, sleep};

use super::settings::{
    CLEANUP_POLICY, COMPRESSION, Fault, LOG_APPEND_TIME, MAX_MESSAGE, MIN_INSYNC, RETENTION, RETENTION_BYTES,
    RETENTION_MS, Role, TIMESTAMP_TYPE, TopicSettings, UNCLEAN, UNCOMPRESSED, admin, describe,
};
pub use super::settings::{MAX_DEAD_LETTER_BYTES, MAX_RECORD_BYTES};
use crate::config::{TopicConfig, one_of, trimmed};
use crate::kafka::ADMIN_TIMEOUT;

/// How long the brokers may take to know a topic that was just made.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(10);
/// And to answer with a setting that was just changed.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How the topics are made.
#[derive(Debug, Clone, clap::Args)]
pub struct TopicShape {
    /// Partitions of each topic.
    #[arg(id = "topic-partitions", long, value_name = "TOPIC_PARTITIONS", env = "TOPIC_PARTITIONS", default_value_t = 6, value_parser = trimmed(value_parser!(i32).range(1..)))]
    pub partitions: i32,
    /// Replicas of each partition.
    #[arg(id = "topic-replication", long, value_name = "TOPIC_REPLICATION", env = "TOPIC_REPLICATION", default_value_t = 3, value_parser = trimmed(value_parser!(i32).range(1..)))]
    pub replication: i32,
    /// In-sync replicas that must hold a record before it counts as written.
    #[arg(id = "topic-min-insync-replicas", long, value_name = "TOPIC_MIN_INSYNC_REPLICAS", env = "TOPIC_MIN_INSYNC_REPLICAS", default_value_t = 2, value_parser = trimmed(value_parser!(i32).range(1..)))]
    pub min_insync_replicas: i32,
    /// Whether the brokers unpack what producers compressed. A worker's memory is bounded only where they do.
    #[arg(id = "topic-compression", long, value_name = "TOPIC_COMPRESSION", env = "TOPIC_COMPRESSION", default_value = "uncompressed", value_parser = one_of::<TopicCompression>())]
    pub compression: TopicCompression,
}

/// The `compression.type` of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TopicCompression {
    /// Records lie in the log as they are, so that the topic's limit of a batch is one of what a reader unpacks.
    #[default]
    Uncompressed,
    /// As producers compressed them; of a topic that is there, whatever it has. For clusters that let nobody choose.
    Producer,
}

impl TopicCompression {
    /// As Kafka calls it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Uncompressed => UNCOMPRESSED,
            Self::Producer => "producer",
        }
    }
}

/// Makes the topics that are not there yet, and looks at the settings of both, whoever made them.
///
/// # Errors
/// Those of [`make`] and of [`check`].
pub async fn create(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<()> {
    make(client, topics, shape).await?;
    check(client, topics, shape).await
}

/// Makes the topics that are not there yet, and gives their names.
///
/// # Errors
/// Kafka away, or unwilling.
pub async fn make(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<Vec<String>> {
    anyhow::ensure!(
        shape.min_insync_replicas <= shape.replication,
        "TOPIC_MIN_INSYNC_REPLICAS={} is more than TOPIC_REPLICATION={}",
        shape.min_insync_replicas,
        shape.replication
    );
    let reachable = client.clone();
    let brokers = tokio::task::spawn_blocking(move || crate::kafka::reach(&reachable)).await??;
    let defaults = defaults(client, &brokers).await;
    let min_insync = shape.min_insync_replicas.to_string();
    let input_bytes = MAX_RECORD_BYTES.to_string();
    let dlq_bytes = MAX_DEAD_LETTER_BYTES.to_string();
    let both = [
        (CLEANUP_POLICY, "delete"),
        (RETENTION_BYTES, "-1"),
        (COMPRESSION, shape.compression.as_str()),
        // Positions across partitions are compared by the broker's clock, not by the devices'.
        (TIMESTAMP_TYPE, LOG_APPEND_TIME),
        (MIN_INSYNC, min_insync.as_str()),
        (UNCLEAN, "false"),
    ];
    let topic = |name, of_its_own: [(&'static str, _); 2]| {
        let new = NewTopic::new(name, shape.partitions, TopicReplication::Fixed(shape.replication));
        // A cluster with a policy may refuse a setting by its name, whatever its value.
        let differs = |(setting, value): &(&str, &str)| defaults.get(setting).is_none_or(|default| default != value);
        both.into_iter().chain(of_its_own).filter(differs).fold(new, |new, (setting, value)| new.set(setting, value))
    };
    let new = [
        topic(topics.input.as_str(), [(MAX_MESSAGE, input_bytes.as_str()), (RETENTION, RETENTION_MS)]),
        // A dead letter stays until somebody has looked at it.
        topic(topics.dlq.as_str(), [(MAX_MESSAGE, dlq_bytes.as_str()), (RETENTION, "-1")]),
    ];
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT));
    let mut made = Vec::new();
    for result in admin(client)?.create_topics(&new, &options).await.context("making the topics")? {
        match result {
            Ok(topic) => {
                tracing::info!(topic, "made the topic");
                made.push(topic);
            }
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => tracing::info!(topic, "the topic is there"),
            Err((topic, error @ (RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig)))
                if shape.compression == TopicCompression::Uncompressed =>
            {
                anyhow::bail!(
                    "making the topic {topic}: {error}. A cluster that lets nobody choose compression.type takes \
                     TOPIC_COMPRESSION=producer, with which a worker's memory is not bounded"
                )
            }
            Err((topic, error)) => anyhow::bail!("making the topic {topic}: {error}"),
        }
    }
    Ok(made)
}

/// Looks at the settings of both topics. `message.timestamp.type` alone is changed where it is not as it has to be:
/// other settings delete records when they are.
///
/// # Errors
/// Kafka away, or settings that the promises do not bear, each by its name with the command that mends it.
pub async fn check(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<()> {
    let told = async |topic: &str| settings_of_new(client, topic).await.context("`--skip-topics` goes on without");
    let (input, dlq) = (told(&topics.input).await?, told(&topics.dlq).await?);
    let mut wrong = Vec::new();
    let brokers = client.get("bootstrap.servers").unwrap_or_default();
    let mut note = |topic: &str, fault: &Fault, why: String| {
        wrong.push(format!("{topic}: {fault}{why}\n  {}", fault.command(brokers, topic)));
    };
    for (topic, role, found, other) in
        [(&topics.input, Role::Input, &input, None), (&topics.dlq, Role::DeadLetters, &dlq, Some(&input))]
    {
        let faults = found.faults(role, shape.min_insync_replicas, other);
        let clock = faults.iter().find(|fault| fault.setting == TIMESTAMP_TYPE);
        let mended = match clock {
            Some(fault) => match mend(client, topic, found).await {
                Ok(()) => {
                    let (setting, found, now) = (fault.setting, fault.found.as_str(), fault.good.as_str());
                    tracing::warn!(topic, setting, found, now, "changed a setting of the topic");
                    true
                }
                Err(error) => {
                    note(topic, fault, format!(" (it cannot be changed here: {error:#})"));
                    false
                }
            },
            None => false,
        };
        let found = if mended { found.clone().with(TIMESTAMP_TYPE, LOG_APPEND_TIME) } else { found.clone() };
        for fault in found.faults(role, shape.min_insync_replicas, other) {
            let is_chosen = fault.setting == COMPRESSION && shape.compression == TopicCompression::Producer;
            if fault.setting == COMPRESSION && !is_chosen {
                note(topic, &fault, " (TOPIC_COMPRESSION=producer leaves it as it is)".to_owned());
            } else if fault.setting != TIMESTAMP_TYPE && !is_chosen {
                note(topic, &fault, String::new());
            }
        }
    }
    anyhow::ensure!(
        wrong.is_empty(),
        "topics have settings with which events are lost. Look at each, because some delete records when they are \
         changed, and run its command; or go on as it is with `--skip-topics`:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

/// Has the broker's clock count from now on. Its settings are replaced as a whole, because the client has no other way:
/// those that are the topic's own go along, as they were just told.
async fn mend(client: &ClientConfig, topic: &str, found: &TopicSettings) -> anyhow::Result<()> {
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in found.own() {
        change = change.set(name, value);
    }
    change = change.set(TIMESTAMP_TYPE, LOG_APPEND_TIME);
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let changed = admin(client)?.alter_configs(&[change], &options).await?;
    changed.into_iter().next().context("no answer")?.map_err(|(_, code)| anyhow::anyhow!("{code}"))?;
    Ok(())
}

/// The settings of a topic that may have been made this moment.
async fn settings_of_new(client: &ClientConfig, topic: &str) -> anyhow::Result<TopicSettings> {
    let until = Instant::now() + APPEAR_TIMEOUT;
    loop {
        match TopicSettings::of(client, topic).await {
            Err(_) if Instant::now() < until => sleep(ASK_AGAIN).await,
            told => return told,
        }
    }
}

/// What a topic gets that is made without settings: as all brokers say, or, where they do not, as Kafka's own defaults
/// are. A topic that gets something else is found out behind its making.
async fn defaults(client: &ClientConfig, brokers: &[i32]) -> BTreeMap<&'static str, String> {
    let mut common: Option<BTreeMap<&'static str, String>> = None;
    for broker in brokers {
        let of_one = match describe(client, ResourceSpecifier::Broker(*broker)).await {
            Ok(told) => of_broker(&told),
            Err(error) => {
                tracing::debug!(broker, error = format!("{error:#}"), "a broker's defaults are not told");
                BTreeMap::new()
            }
        };
        if of_one.is_empty() {
            common = None;
            break;
        }
        match &mut common {
            Some(common) => common.retain(|name, value| of_one.get(name) == Some(value)),
            None => common = Some(of_one),
        }
    }
    common.unwrap_or_else(|| {
        [
            (CLEANUP_POLICY, "delete"),
            (RETENTION, RETENTION_MS),
            (RETENTION_BYTES, "-1"),
            (MAX_MESSAGE, "1048588"),
            (TIMESTAMP_TYPE, "CreateTime"),
            (COMPRESSION, "producer"),
            (MIN_INSYNC, "1"),
            (UNCLEAN, "false"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
    })
}

/// A broker's settings by the names that they have of a topic.
fn of_broker(told: &ConfigResource) -> BTreeMap<&'static str, String> {
    let value = |name: &str| told.get(name).and_then(|entry| entry.value.clone()).filter(|value| !value.is_empty());
    let times =
        |name: &str, millis: i64| value(name)?.parse::<i64>().ok()?.checked_mul(millis).map(|it| it.to_string());
    [
        (CLEANUP_POLICY, value("log.cleanup.policy")),
        (
            RETENTION,
            value("log.retention.ms")
                .or_else(|| times("log.retention.minutes", 60_000))
                .or_else(|| times("log.retention.hours", 3_600_000)),
        ),
        (RETENTION_BYTES, value("log.retention.bytes")),
        (MAX_MESSAGE, value("message.max.bytes")),
        (TIMESTAMP_TYPE, value("log.message.timestamp.type")),
        (COMPRESSION, value(COMPRESSION)),
        (MIN_INSYNC, value(MIN_INSYNC)),
        (UNCLEAN, value(UNCLEAN)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// The settings of a topic that a producer has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// `min.insync.replicas`: with less than 2, an acknowledgement is one disk's word.
    pub min_insync_replicas: i32,
    /// `max.message.bytes`, the topic's own or the broker's: what one batch may have as it lies in the log, which is
    /// after the broker unpacked it where the topic's `compression.type` is `uncompressed`.
    pub max_message_bytes: usize,
}

/// What a topic asks of those who write to it.
///
/// # Errors
/// Kafka away, or the topic; or no right to `DescribeConfigs` on it.
pub async fn write_limits(client: &ClientConfig, topic: &str) -> anyhow::Result<WriteLimits> {
    let settings = TopicSettings::of(client, topic).await?;
    Ok(WriteLimits {
        min_insync_replicas: settings.parsed(MIN_INSYNC)?,
        max_message_bytes: settings.parsed(MAX_MESSAGE)?,
    })
}
