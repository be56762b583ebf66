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
    /// PostgreSQL, which says whether a letter's event has a row.
    #[command(flatten)]
    pub postgres: PostgresConfig,
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
    /// What failed before this time (RFC 3339).
    #[arg(long, value_parser = rfc3339::instant)]
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
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub log: LogConfig,
}
