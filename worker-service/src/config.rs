//! The worker's settings and commands; `--help` is their reference.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::cache::StoresConfig;
use shared::kafka::topics::setup::TopicShape;
use shared::kafka::{GroupConfig, KafkaConfig, SourceConfig, TopicConfig};
use shared::runtime::config::{AccessLogConfig, LogConfig, OpsConfig, TraceConfig, duration_in};
use shared::runtime::probe::HealthConfig;
use shared::store::PostgresConfig;

use crate::consumer::seek::SeekConfig;
use crate::dead_letters::config::DlqCommand;
use crate::devices::forget::ForgetConfig;
use crate::observe::emf::EmfConfig;

const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * YEAR);
/// As people write it: 365.25 days.
const YEAR: u64 = 31_557_600;

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
    Run(Box<RunConfig>),
    /// Bring the schema up to date and make the topics; safe to repeat.
    Setup(SetupConfig),
    /// Let partitions go on that ran out of their ration of dead letters.
    Resume(ResumeConfig),
    /// Look at dead letters, and send them back to the input topic.
    Dlq {
        /// What to do with them.
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Rewind the group, after PostgreSQL was restored to an earlier time, or have one partition go past records that
    /// cannot be read; all workers must be stopped.
    Seek(SeekConfig),
    /// Erase a device: its events, its resource, its cache entry, and what its records would do.
    Forget(ForgetConfig),
    /// Ask the worker that runs beside this command for its health; for a container's health check.
    Health(HealthConfig),
}

/// Settings of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunConfig {
    /// Kafka.
    #[command(flatten)]
    pub source: SourceConfig,
    /// PostgreSQL and Redis.
    #[command(flatten)]
    pub stores: StoresConfig,
    /// How long an event is remembered. It has to be longer than the topic keeps records: a record
    /// that is read again after its event was forgotten is a new event. From 1m to 100years; so short
    /// only for a trial.
    #[arg(long, env, default_value = "30days", value_parser = duration_in(RETENTIONS))]
    pub events_retention: Duration,
    /// CloudWatch metrics.
    #[command(flatten)]
    pub emf: EmfConfig,
    /// Traces.
    #[command(flatten)]
    pub traces: TraceConfig,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
    /// The lines of events in it.
    #[command(flatten)]
    pub access_log: AccessLogConfig,
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

#[cfg(test)]
#[path = "../../shared/tests/settings/as_given.rs"]
mod as_given;

#[cfg(test)]
mod tests;
