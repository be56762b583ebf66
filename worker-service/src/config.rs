//! The worker's settings and commands; `--help` is their reference.

use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::config::{KafkaConfig, LogConfig, OpsConfig, PostgresConfig, RedisConfig, TopicConfig};
use shared::topic::setup::TopicShape;

/// Consumes events from Kafka into PostgreSQL.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Consume, until SIGTERM.
    Run(RunConfig),
    /// Bring the schema up to date and make the topics; safe to repeat.
    Setup(SetupConfig),
    /// Let partitions go on that ran out of their ration of dead letters.
    Resume(ResumeConfig),
}

/// The consumer group.
#[derive(Debug, Clone, clap::Args)]
pub struct GroupConfig {
    /// The consumer group.
    #[arg(
        id = "kafka-group",
        long,
        value_name = "KAFKA_GROUP",
        env = "KAFKA_GROUP",
        default_value = "events-processor"
    )]
    pub group: String,
}

/// Settings of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunConfig {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The topics.
    #[command(flatten)]
    pub topics: TopicConfig,
    /// The group.
    #[command(flatten)]
    pub group: GroupConfig,
    /// PostgreSQL.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisConfig,
    /// How long an event is remembered. It has to be longer than the topic keeps records: a record
    /// that is read again after its event was forgotten is a new event.
    #[arg(long, env = "EVENTS_RETENTION", default_value = "30days", value_parser = shared::config::duration)]
    pub events_retention: Duration,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
    /// The internal port.
    #[command(flatten)]
    pub ops: OpsConfig,
}

/// Settings of `setup`.
#[derive(Debug, Clone, clap::Args)]
pub struct SetupConfig {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The topics.
    #[command(flatten)]
    pub topics: TopicConfig,
    /// How they are made.
    #[command(flatten)]
    pub shape: TopicShape,
    /// Only migrate; for topics that somebody else makes.
    #[arg(long)]
    pub skip_topics: bool,
    /// PostgreSQL.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `resume`.
#[derive(Debug, Clone, clap::Args)]
pub struct ResumeConfig {
    /// The group.
    #[command(flatten)]
    pub group: GroupConfig,
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    /// PostgreSQL.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}
