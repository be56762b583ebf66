//! The settings of commands and of requests that are held.

use clap::{Args, value_parser};
use shared::runtime::config::trimmed;

/// The bounds of commands and of requests that are held.
#[derive(Debug, Clone, Args)]
pub struct CommandsConfig {
    /// How many events of commands may wait in PostgreSQL until Kafka takes them; beyond that commands get 503 with
    /// `Retry-After`. From 1 to 1000000000.
    #[arg(long, env, default_value_t = 1_000_000, value_parser = trimmed(value_parser!(u32).range(1..=1_000_000_000)))]
    pub outbox_max_rows: u32,
    /// How many requests with `Prefer: wait` are held at once, 0 to 100000; a further one is answered at once. 0 holds
    /// none.
    #[arg(long, env, default_value_t = 1_000, value_parser = trimmed(value_parser!(u32).range(0..=100_000)))]
    pub held_requests_max: u32,
}
