//! The settings of `dlq`; `--help` is their reference.

use shared::cache::StoresConfig;
use shared::kafka::KafkaConfig;
use shared::runtime::config::LogConfig;
use shared::runtime::rfc3339;
use shared::store::PostgresConfig;
use time::OffsetDateTime;

use crate::dead_letters::filter::LetterFilter;

/// Settings of `dlq list`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqListConfig {
    #[command(flatten)]
    pub filter: LetterFilter,
    /// One JSON object for each line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// PostgreSQL, which says whether a dead letter's event has a row.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `dlq show`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqShowConfig {
    /// The dead letter's partition of the dead-letter topic.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `dlq redrive`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqRedriveConfig {
    #[command(flatten)]
    pub filter: LetterFilter,
    /// Only dead letters of this partition of the dead-letter topic.
    #[arg(long)]
    pub partition: Option<i32>,
    /// Only the dead letter at this offset of the partition.
    #[arg(long, requires = "partition")]
    pub offset: Option<i64>,
    /// Print what would be sent, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The maximum number of dead letters to send in a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Refuse events that were redriven this many times already.
    #[arg(long, default_value_t = 3)]
    pub max_redrives: u32,
    /// Send events that `--max-redrives` refuses too.
    #[arg(long)]
    pub force: bool,
    /// Also send events that have a row in PostgreSQL already; they change nothing.
    #[arg(long)]
    pub include_applied: bool,
    /// One JSON object on each line, the summary last.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub stores: StoresConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `dlq purge`.
#[derive(Debug, Clone, clap::Args)]
pub struct DlqPurgeConfig {
    /// Delete dead letters that failed before this time (RFC 3339).
    #[arg(long, value_parser = rfc3339::instant)]
    pub before: OffsetDateTime,
    /// Only dead letters with this key, up to the first one with another key.
    #[arg(long, alias = "device")]
    pub key: Option<String>,
    /// Those of all handlers that read the same stream. Without it, one of another handler stays, and those behind it.
    #[arg(long)]
    pub all_handlers: bool,
    /// Print what would be deleted, and delete nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object for each partition, the summary last.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub log: LogConfig,
}
