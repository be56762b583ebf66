//! How the log is written.

/// The log.
#[derive(Debug, Clone, clap::Args)]
pub struct LogConfig {
    /// JSON lines, or lines for people.
    #[arg(id = "log-format", long, value_name = "LOG_FORMAT", env = "LOG_FORMAT", default_value = "json", value_enum)]
    pub format: LogFormat,
    /// What is logged, in `tracing`'s directives: `info`, `worker_service=debug`.
    #[arg(id = "rust-log", long, value_name = "RUST_LOG", env = "RUST_LOG", default_value = "info")]
    pub filter: String,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}
