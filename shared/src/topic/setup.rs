//! Makes both topics, and looks whether they are as they should be.

use std::time::Duration;

use anyhow::Context;
use clap::value_parser;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use crate::config::{TopicConfig, trimmed};
use crate::kafka::ADMIN_TIMEOUT;

/// The largest record of the input topic, in bytes.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// The largest record of the dead-letter topic: room for the `dlq.` headers.
pub const MAX_DEAD_LETTER_BYTES: usize = MAX_RECORD_BYTES + 64 * 1024;

/// How long the input topic keeps records: a week, in milliseconds.
const RETENTION_MS: &str = "604800000";

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
}

/// Makes the topics that are not there yet; those that are stay as they are.
///
/// # Errors
/// Kafka away, or unwilling.
pub async fn create(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<()> {
    anyhow::ensure!(
        shape.min_insync_replicas <= shape.replication,
        "TOPIC_MIN_INSYNC_REPLICAS={} is more than TOPIC_REPLICATION={}",
        shape.min_insync_replicas,
        shape.replication
    );
    let reachable = client.clone();
    tokio::task::spawn_blocking(move || crate::kafka::reach(&reachable)).await??;
    let admin = admin(client)?;
    let min_insync = shape.min_insync_replicas.to_string();
    let input_bytes = MAX_RECORD_BYTES.to_string();
    let dlq_bytes = MAX_DEAD_LETTER_BYTES.to_string();
    let topic = |name, bytes| {
        NewTopic::new(name, shape.partitions, TopicReplication::Fixed(shape.replication))
            .set("min.insync.replicas", &min_insync)
            .set("unclean.leader.election.enable", "false")
            // Positions across partitions are compared by the broker's clock, not by the devices'.
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", bytes)
    };
    let new = [
        topic(topics.input.as_str(), input_bytes.as_str()).set("retention.ms", RETENTION_MS),
        // A dead letter stays until somebody has looked at it.
        topic(topics.dlq.as_str(), dlq_bytes.as_str()).set("retention.ms", "-1").set("retention.bytes", "-1"),
    ];
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT));
    for result in admin.create_topics(&new, &options).await.context("making the topics")? {
        match result {
            Ok(topic) => tracing::info!(topic, "made the topic"),
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => tracing::info!(topic, "the topic is there"),
            Err((topic, error)) => anyhow::bail!("making the topic {topic}: {error}"),
        }
    }
    Ok(())
}

/// The settings of a topic that a producer has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// `min.insync.replicas`: with less than 2, an acknowledgement is one disk's word.
    pub min_insync_replicas: i32,
    /// `max.message.bytes`, the topic's own or the broker's: what one batch may have, compressed.
    pub max_message_bytes: usize,
}

/// What a topic asks of those who write to it.
///
/// # Errors
/// Kafka away, or the topic; or no right to `DescribeConfigs` on it.
pub async fn write_limits(client: &ClientConfig, topic: &str) -> anyhow::Result<WriteLimits> {
    let settings = settings(client, topic).await?;
    Ok(WriteLimits {
        min_insync_replicas: value(&settings, "min.insync.replicas")?.parse()?,
        max_message_bytes: value(&settings, "max.message.bytes")?.parse()?,
    })
}

/// `retention.ms` of a topic; none where it keeps its records for ever.
///
/// # Errors
/// Kafka away, or the topic.
pub async fn retention(client: &ClientConfig, topic: &str) -> anyhow::Result<Option<Duration>> {
    let millis: i64 = value(&settings(client, topic).await?, "retention.ms")?.parse()?;
    Ok(u64::try_from(millis).ok().map(Duration::from_millis))
}

async fn settings(client: &ClientConfig, topic: &str) -> anyhow::Result<ConfigResource> {
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let described = admin(client)?.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
    described.into_iter().next().context("no answer")?.map_err(|code| anyhow::anyhow!("{code}"))
}

fn value<'a>(settings: &'a ConfigResource, name: &str) -> anyhow::Result<&'a str> {
    settings.get(name).and_then(|entry| entry.value.as_deref()).with_context(|| format!("{name} is not told"))
}

fn admin(client: &ClientConfig) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    client.create().context("the Kafka settings")
}
