//! The settings of placements.

use clap::Args;
use shared::placements::DomainTopics;

/// Where the events of commands are published.
#[derive(Debug, Clone, Args)]
pub struct PlacementsConfig {
    #[command(flatten)]
    pub topics: DomainTopics,
}
