//! The settings of placements.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use shared::client::MAX_TIMEOUT;
use shared::placements::DomainTopics;
use shared::placements::objects::FilesConfig;
use shared::runtime::config::{duration_in, text};

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=MAX_TIMEOUT;

/// Where the events of commands are published, where the files of videos are, and who validates drafts.
#[derive(Debug, Clone, Args)]
pub struct PlacementsConfig {
    #[command(flatten)]
    pub topics: DomainTopics,
    #[command(flatten)]
    pub files: FilesConfig,
    #[command(flatten)]
    pub check: CheckConfig,
}

/// The service that validates.
#[derive(Debug, Clone, Args)]
pub struct CheckConfig {
    /// The address of the service that validates drafts (`API_DOMAINS=validation`), below which it has the path
    /// `/validation/validate`; needs `INTERNAL_JWT_SECRET`. If it is not set, this instance validates them itself.
    #[arg(long, env, value_parser = text())]
    pub validation_url: Option<String>,
    /// The most time for one call of that service, from 100ms to 30s.
    #[arg(long, env, default_value = "5s", value_parser = duration_in(TIMEOUTS))]
    pub validation_timeout: Duration,
}
