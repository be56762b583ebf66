//! Creates both topics, and checks their settings.

mod check;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use clap::value_parser;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

pub use self::check::{check, check_present};
use super::settings::{
    CLEANUP_POLICY, COMPRESSION, LOG_APPEND_TIME, MAX_MESSAGE, MIN_INSYNC, RETENTION, RETENTION_BYTES, RETENTION_MS,
    TIMESTAMP_TYPE, TopicSettings, UNCLEAN, UNCOMPRESSED, admin, describe,
};
pub use super::settings::{MAX_DEAD_LETTER_BYTES, MAX_RECORD_BYTES};
use crate::kafka::client::reach;
use crate::kafka::{ADMIN_TIMEOUT, TopicConfig};
use crate::runtime::config::{one_of, trimmed};

/// How long the brokers may take to know a topic that was just created.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait between two requests for its settings.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The most partitions that Kafka creates in one request.
const MOST_PARTITIONS: i64 = 10_000;
const MOST_REPLICAS: i64 = 100;

/// The default number of partitions of a topic.
pub const DEFAULT_PARTITIONS: i32 = 6;

/// How the topics are made.
#[derive(Debug, Clone, clap::Args)]
pub struct TopicShape {
    /// Partitions of each topic, 1 to 10000.
    #[arg(id = "topic-partitions", long, value_name = "TOPIC_PARTITIONS", env = "TOPIC_PARTITIONS", default_value_t = DEFAULT_PARTITIONS, value_parser = trimmed(value_parser!(i32).range(1..=MOST_PARTITIONS)))]
    pub partitions: i32,
    /// Replicas of each partition, 1 to 100.
    #[arg(id = "topic-replication", long, value_name = "TOPIC_REPLICATION", env = "TOPIC_REPLICATION", default_value_t = 3, value_parser = trimmed(value_parser!(i32).range(1..=MOST_REPLICAS)))]
    pub replication: i32,
    /// In-sync replicas that must hold a record before it counts as written, 1 to 100.
    #[arg(id = "topic-min-insync-replicas", long, value_name = "TOPIC_MIN_INSYNC_REPLICAS", env = "TOPIC_MIN_INSYNC_REPLICAS", default_value_t = 2, value_parser = trimmed(value_parser!(i32).range(1..=MOST_REPLICAS)))]
    pub min_insync_replicas: i32,
    /// Whether the brokers decompress batches when they receive them. Only then a worker's memory is limited.
    #[arg(id = "topic-compression", long, value_name = "TOPIC_COMPRESSION", env = "TOPIC_COMPRESSION", default_value = "uncompressed", value_parser = one_of::<TopicCompression>())]
    pub compression: TopicCompression,
}

/// The `compression.type` of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TopicCompression {
    /// Records are not compressed in the log, so that the topic's limit for a batch holds for its readers too.
    #[default]
    Uncompressed,
    /// As producers compressed them; an existing topic keeps its setting. For clusters that allow no choice.
    Producer,
}

impl TopicCompression {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Uncompressed => UNCOMPRESSED,
            Self::Producer => "producer",
        }
    }
}

impl TopicShape {
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.min_insync_replicas <= self.replication,
            "TOPIC_MIN_INSYNC_REPLICAS={} is more than TOPIC_REPLICATION={}",
            self.min_insync_replicas,
            self.replication
        );
        Ok(())
    }
}

/// Creates the missing topics, and checks the settings of both, including topics that existed before.
pub async fn create(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<()> {
    make(client, topics, shape).await?;
    check(client, topics, shape).await
}

/// Creates the missing topics, and returns their names.
pub async fn make(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<Vec<String>> {
    shape.check()?;
    let defaults = defaults(client, &reach(client).await?.brokers).await;
    let min_insync = shape.min_insync_replicas.to_string();
    let input_bytes = MAX_RECORD_BYTES.to_string();
    let dlq_bytes = MAX_DEAD_LETTER_BYTES.to_string();
    let both = [
        (CLEANUP_POLICY, "delete"),
        (RETENTION_BYTES, "-1"),
        (COMPRESSION, shape.compression.as_str()),
        // Positions across partitions are compared by the broker's clock, not by the senders'.
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
        // No retention limit: a dead letter stays until an operator has handled it.
        topic(topics.dlq.as_str(), [(MAX_MESSAGE, dlq_bytes.as_str()), (RETENTION, "-1")]),
    ];
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT));
    let mut made = Vec::new();
    for result in admin(client)?.create_topics(&new, &options).await.context("cannot create the topics")? {
        match result {
            Ok(topic) => {
                tracing::info!(topic, "created the topic");
                made.push(topic);
            }
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => tracing::info!(topic, "the topic exists already"),
            Err((topic, error @ (RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig)))
                if shape.compression == TopicCompression::Uncompressed =>
            {
                anyhow::bail!(
                    "cannot create the topic {topic}: {error}. If the cluster allows no choice of compression.type, \
                     set TOPIC_COMPRESSION=producer; then a worker's memory is not limited"
                )
            }
            Err((topic, error)) => anyhow::bail!("cannot create the topic {topic}: {error}"),
        }
    }
    Ok(made)
}

/// The defaults for a new topic: those that all brokers agree on, or Kafka's own defaults if a broker does not return
/// its settings. `check` finds a topic whose actual settings differ.
async fn defaults(client: &ClientConfig, brokers: &[i32]) -> BTreeMap<&'static str, String> {
    let mut common: Option<BTreeMap<&'static str, String>> = None;
    for broker in brokers {
        let of_one = match describe(client, ResourceSpecifier::Broker(*broker)).await {
            Ok(told) => of_broker(&told),
            Err(error) => {
                tracing::debug!(broker, error = format!("{error:#}"), "Kafka does not return a broker's defaults");
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

/// A broker's settings under the names of the corresponding topic settings.
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

/// The settings of a topic that a producer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// `min.insync.replicas`: with less than 2, an acknowledged record may exist on one disk only.
    pub min_insync_replicas: i32,
    /// The smallest number of replicas of any partition; `None` if unknown.
    pub replicas: Option<usize>,
    /// `max.message.bytes`, the topic's own or the broker's: the size limit of one batch in the log. If the topic's
    /// `compression.type` is `uncompressed`, it applies to the decompressed batch.
    pub max_message_bytes: usize,
}

/// Asks Kafka for a topic's limits for producers.
pub async fn write_limits(client: &ClientConfig, topic: &str) -> anyhow::Result<WriteLimits> {
    let settings = TopicSettings::of(client, topic).await?;
    Ok(WriteLimits {
        min_insync_replicas: settings.parsed(MIN_INSYNC)?,
        replicas: settings.replicas(),
        max_message_bytes: settings.parsed(MAX_MESSAGE)?,
    })
}
