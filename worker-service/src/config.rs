//! The worker's settings and commands; `--help` is their reference. Includes the settings and commands of the domains.

mod domain;
mod sources;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand};
use shared::cache::StoresConfig;
use shared::kafka::KafkaConfig;
use shared::kafka::topics::setup::TopicShape;
use shared::runtime::config::{AccessLogConfig, LogConfig, OpsConfig, TraceConfig, trimmed};
use shared::runtime::probe::HealthConfig;
use shared::runtime::unique::ensure_unique;
use shared::store::PostgresConfig;

pub use self::domain::DomainCommand;
pub use self::sources::{DomainSettings, NamedSources, OneGroup, OneSource, Sources, Streams};
use crate::consumer::registry::names_of;
use crate::consumer::seek::SeekConfig;
use crate::dead_letters::config::{DlqListConfig, DlqPurgeConfig, DlqRedriveConfig, DlqShowConfig};
use crate::domains;
use crate::observe::emf::EmfConfig;

/// Enough for one batch in progress and a second one that is being collected.
const LEAST_BYTES_IN_HAND: usize = 16 * 1024 * 1024;
const MOST_BYTES_IN_HAND: usize = 1 << 40;

fn bytes_in_hand(text: &str) -> Result<usize, String> {
    let (least, most) = (LEAST_BYTES_IN_HAND, MOST_BYTES_IN_HAND);
    let bytes = text.parse().ok().filter(|bytes| (least..=most).contains(bytes));
    bytes.ok_or_else(|| format!("it must be from {least} to {most}"))
}

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
    /// Migrate the schema and create the topics; safe to repeat.
    Setup(SetupConfig),
    /// Resume a group's partitions that were paused because their dead-letter budget was used up.
    Resume(ResumeConfig),
    /// List and show dead letters, send them back to the input topic, or delete them.
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Rewind the group after PostgreSQL was restored to an earlier time, or skip records of a partition that cannot be
    /// read; all workers must be stopped.
    Seek(OfHandler<SeekConfig>),
    /// A command that a domain brings.
    #[command(flatten)]
    Domain(DomainCommand),
    /// Print the page of events, docs/events.md: each type with its schema, its publisher and its consumers.
    Events,
    /// Ask the worker in this container for its health; for a container's health check.
    Health(HealthConfig),
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// One line for each dead letter; never its payload.
    List(OfNamed<DlqListConfig>),
    /// One dead letter with its value.
    Show(OfHandler<DlqShowConfig>),
    /// Send dead letters back to the input topic, in their original order.
    Redrive(Box<OfHandler<DlqRedriveConfig>>),
    /// Delete old dead letters from the beginning of each partition, up to the first one that stays.
    Purge(OfHandler<DlqPurgeConfig>),
}

/// Refuses names that two domains use, or a domain and the backbone. For the start, before clap reads the arguments.
pub fn check() -> anyhow::Result<()> {
    domains::registry().check()?;
    ensure_commands_differ(&Cli::command())
}

fn ensure_commands_differ(all: &clap::Command) -> anyhow::Result<()> {
    ensure_unique("commands", all.get_subcommands().flat_map(names_of))
}

/// Settings of a command that works on what one handler reads.
#[derive(Debug, Clone, clap::Args)]
pub struct OfHandler<C: clap::Args> {
    #[command(flatten)]
    pub command: C,
    #[command(flatten)]
    pub source: OneSource,
}

/// Settings of a command that works on what the handlers read.
#[derive(Debug, Clone, clap::Args)]
pub struct OfNamed<C: clap::Args> {
    #[command(flatten)]
    pub command: C,
    #[command(flatten)]
    pub sources: NamedSources,
}

/// Settings of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunConfig {
    /// The handlers and tasks to run, separated by commas (the flag is `--only`); all if this is not set.
    #[arg(
        id = "only",
        long,
        value_name = "NAMES",
        env = "WORKER_ONLY",
        value_delimiter = ',',
        value_parser = trimmed(PossibleValuesParser::new(domains::registry().names()))
    )]
    pub only: Vec<String>,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub sources: Sources,
    /// The maximum number of bytes of records that all partitions hold, in progress or held for a retry; at the limit a
    /// partition takes no more records. From 16777216 to 1099511627776. Prefetched records, 2 MiB for each partition, are
    /// not counted.
    #[arg(long, env, default_value_t = 128 * 1024 * 1024, value_parser = trimmed(bytes_in_hand))]
    pub max_bytes_in_hand: usize,
    #[command(flatten)]
    pub stores: StoresConfig,
    #[command(flatten)]
    pub domains: DomainSettings,
    #[command(flatten)]
    pub emf: EmfConfig,
    #[command(flatten)]
    pub traces: TraceConfig,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub access_log: AccessLogConfig,
    #[command(flatten)]
    pub ops: OpsConfig,
}

/// Settings of `setup`.
#[derive(Debug, Clone, clap::Args)]
pub struct SetupConfig {
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub streams: Streams,
    #[command(flatten)]
    pub shape: TopicShape,
    /// Only migrate; for topics that are created in another way.
    #[arg(long)]
    pub skip_topics: bool,
    /// Then distribute the domains' largest tables over the nodes of a Citus cluster, whose coordinator DATABASE_URL names;
    /// the others stay on the coordinator. Stop the workers before.
    #[arg(long)]
    pub distribute: bool,
    #[command(flatten)]
    pub postgres: PostgresConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `resume`.
#[derive(Debug, Clone, clap::Args)]
pub struct ResumeConfig {
    #[command(flatten)]
    pub group: OneGroup,
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    #[command(flatten)]
    pub postgres: PostgresConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

#[cfg(test)]
#[path = "../../shared/tests/settings/as_given.rs"]
mod as_given;

#[cfg(test)]
mod tests;
