//! The worker's settings and commands; `--help` is their reference.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::config::{
    AccessLogConfig, KafkaConfig, LogConfig, OpsConfig, PostgresConfig, RedisConfig, TopicConfig, TraceConfig,
    duration_in, trimmed,
};
use shared::devices::DeviceId;
use shared::probe::HealthConfig;
use shared::topic::Reason;
use shared::topic::setup::TopicShape;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const EMF_INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * YEAR);
/// As people write it: 365.25 days.
const YEAR: u64 = 31_557_600;
/// Kafka takes any name; one of several lines in its tools and in our log is a mistake.
const LONGEST_GROUP: usize = 249;

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

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// One line a letter; never its payload.
    List(DlqListConfig),
    /// One letter, whole.
    Show(DlqShowConfig),
    /// Send letters back to the input topic, in the order of their first places.
    Redrive(DlqRedriveConfig),
    /// Delete old letters from the beginning of each partition, up to the first one that stays.
    Purge(DlqPurgeConfig),
}

fn group_name(text: &str) -> Result<String, String> {
    let is_good = text.len() <= LONGEST_GROUP && !text.chars().any(char::is_control);
    if is_good { Ok(text.to_owned()) } else { Err("it must be 1 to 249 bytes, and no control characters".to_owned()) }
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
        default_value = "events-processor",
        value_parser = trimmed(group_name)
    )]
    pub group: String,
}

/// The lag as CloudWatch metrics, in the log.
#[derive(Debug, Clone, clap::Args)]
pub struct EmfConfig {
    /// Writes lag, watermark age and whether an outage is waited out as metrics of this CloudWatch
    /// namespace into the log (embedded metric format). Off where this is not set.
    #[arg(id = "emf-namespace", long, value_name = "EMF_NAMESPACE", env = "EMF_NAMESPACE", value_parser = trimmed(emf_namespace))]
    pub namespace: Option<String>,
    /// How often, from 1s to 1h, at the beat of the clock: all workers at once.
    #[arg(id = "emf-interval", long, value_name = "EMF_INTERVAL", env = "EMF_INTERVAL", default_value = "60s", value_parser = duration_in(EMF_INTERVALS))]
    pub interval: Duration,
}

fn emf_namespace(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_/#:".contains(c);
    if !(1..=255).contains(&text.len()) || !text.chars().all(known) {
        return Err("it must be 1 to 255 of A-Z a-z 0-9 . - _ / # :".to_owned());
    }
    if text.starts_with("AWS/") { Err("AWS/ is Amazon's own".to_owned()) } else { Ok(text.to_owned()) }
}

/// The log of events, and who reads it.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceConfig {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The topics.
    #[command(flatten)]
    pub topics: TopicConfig,
    /// The group.
    #[command(flatten)]
    pub group: GroupConfig,
}

/// Where events have their effect.
#[derive(Debug, Clone, clap::Args)]
pub struct StoresConfig {
    /// PostgreSQL.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisConfig,
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

/// Which letters.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LetterFilter {
    /// Only of this device.
    #[arg(long)]
    pub device: Option<String>,
    /// Only with this `dlq.reason`.
    #[arg(long, value_parser = Reason::ALL.map(Reason::as_str))]
    pub reason: Option<String>,
    /// Only what failed at this time (RFC 3339) or later.
    #[arg(long, value_parser = instant)]
    pub since: Option<OffsetDateTime>,
    /// Only what failed before this time (RFC 3339).
    #[arg(long, value_parser = instant)]
    pub until: Option<OffsetDateTime>,
    /// At most so many.
    #[arg(long)]
    pub limit: Option<usize>,
}

/// Settings of `dlq list`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqListConfig {
    /// Which letters.
    #[command(flatten)]
    pub filter: LetterFilter,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Kafka.
    #[command(flatten)]
    pub source: SourceConfig,
    /// PostgreSQL, which says whether a letter's event has a row.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// The log, on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `dlq show`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqShowConfig {
    /// The letter's partition of the dead-letter topic.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Kafka.
    #[command(flatten)]
    pub source: SourceConfig,
    /// The log, on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `dlq redrive`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqRedriveConfig {
    /// Which letters.
    #[command(flatten)]
    pub filter: LetterFilter,
    /// Only of this partition of the dead-letter topic.
    #[arg(long)]
    pub partition: Option<i32>,
    /// Only the letter at this offset of the partition.
    #[arg(long, requires = "partition")]
    pub offset: Option<i64>,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Letters a second, at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// An event that was redriven so often already is refused.
    #[arg(long, default_value_t = 3)]
    pub max_redrives: u32,
    /// Send those too.
    #[arg(long)]
    pub force: bool,
    /// Send also what has a row in PostgreSQL already; it changes nothing.
    #[arg(long)]
    pub include_applied: bool,
    /// One JSON object a line, the summary last.
    #[arg(long)]
    pub json: bool,
    /// Kafka.
    #[command(flatten)]
    pub source: SourceConfig,
    /// PostgreSQL and Redis.
    #[command(flatten)]
    pub stores: StoresConfig,
    /// The log, on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `dlq purge`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqPurgeConfig {
    /// What failed before this time (RFC 3339).
    #[arg(long, value_parser = instant)]
    pub before: OffsetDateTime,
    /// Only of this device: up to the first letter of another one.
    #[arg(long)]
    pub device: Option<String>,
    /// Say what would be deleted, and delete nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object a partition, the summary last.
    #[arg(long)]
    pub json: bool,
    /// Kafka.
    #[command(flatten)]
    pub source: SourceConfig,
    /// The log, on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `seek`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["to_time", "from_beginning", "past_unreadable", "to_offset"]))]
pub struct SeekConfig {
    /// The time (RFC 3339) to go back to: not later than what PostgreSQL was restored to, rather some
    /// minutes earlier. What was applied before is recognised.
    #[arg(long, value_parser = instant)]
    pub to_time: Option<OffsetDateTime>,
    /// Go back to the first record that the topic has, whatever its time: for a topic with
    /// `message.timestamp.type=CreateTime`, whose times are its producers' word.
    #[arg(long)]
    pub from_beginning: bool,
    /// Go past what the partition stands before and the client cannot read, to the first offset that can be read. What
    /// is skipped counts as lost.
    #[arg(long, requires = "partition")]
    pub past_unreadable: bool,
    /// Go on at this offset of the partition, where nothing before it can be read. For what the client neither reads
    /// nor refuses.
    #[arg(long, requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// The partition that is to go past what cannot be read.
    #[arg(long, conflicts_with_all = ["to_time", "from_beginning"])]
    pub partition: Option<i32>,
    /// Say where the group would stand, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Kafka.
    #[command(flatten)]
    pub source: SourceConfig,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisConfig,
    /// The log, on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `forget`.
#[derive(Debug, Clone, clap::Args)]
pub struct ForgetConfig {
    /// The device.
    #[arg(value_name = "DEVICE")]
    pub device: DeviceId,
    /// Kafka, which says where the topic ends.
    #[command(flatten)]
    pub source: SourceConfig,
    /// PostgreSQL and Redis.
    #[command(flatten)]
    pub stores: StoresConfig,
    /// The log, on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}

fn instant(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "it is not a time of RFC 3339".to_owned())
}

#[cfg(test)]
#[path = "../../shared/tests/settings/as_given.rs"]
mod as_given;

#[cfg(test)]
mod tests;
