//! The settings of the log.

use std::convert::Infallible;

use super::one_of;

/// The log.
#[derive(Debug, Clone, clap::Args)]
pub struct LogConfig {
    /// JSON lines, or lines for people.
    #[arg(id = "log-format", long, value_name = "LOG_FORMAT", env = "LOG_FORMAT", default_value = "json", value_parser = one_of::<LogFormat>())]
    pub format: LogFormat,
    /// Which lines are logged, in `tracing`'s directives: `info`, `worker_service=debug`.
    #[arg(id = "rust-log", long, value_name = "RUST_LOG", env = "RUST_LOG", default_value = FILTER, value_parser = filter)]
    pub filter: String,
}

/// The default, also for an empty value, as in other programs.
const FILTER: &str = "info";

fn filter(text: &str) -> Result<String, Infallible> {
    let text = text.trim();
    Ok(if text.is_empty() { FILTER } else { text }.to_owned())
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object for each line.
    Json,
    /// For people.
    Pretty,
}
