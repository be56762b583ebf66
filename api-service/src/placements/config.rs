//! The settings of placements.

use clap::Args;
use shared::placements::DomainTopics;
use shared::placements::objects::FilesConfig;

/// Where the events of commands are published, and where the files of videos are.
#[derive(Debug, Clone, Args)]
pub struct PlacementsConfig {
    #[command(flatten)]
    pub topics: DomainTopics,
    #[command(flatten)]
    pub files: FilesConfig,
}
