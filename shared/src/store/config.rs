//! The settings of PostgreSQL.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::value_parser;

use crate::runtime::config::{DATABASE_CONNECTIONS, Secret, duration_in, one_of, trimmed};

/// Below 100 ms, a connection to another machine cannot be made in time. The maximum is well below the worker's
/// watchdog timeout, and in milliseconds it fits the 32 bits of a session setting.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// What is between a service and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Pooler {
    /// No pooler, or one in session mode: each connection is a session of PostgreSQL.
    #[default]
    None,
    /// A pooler in transaction mode, such as PgBouncer with `pool_mode=transaction` or RDS Proxy: nothing may outlive
    /// its transaction.
    Transaction,
}

/// The connection to PostgreSQL.
#[derive(Debug, Clone, clap::Args)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full` across a network, and with
    /// `&sslrootcert=FILE` for certificate authorities beside the system's (or `PGSSLROOTCERT`, a file or the
    /// certificates themselves).
    #[arg(id = "database-url", long, value_name = "DATABASE_URL", env = "DATABASE_URL", hide_env_values = true, value_parser = trimmed(value_parser!(Secret)))]
    pub url: Secret,
    /// Whether there is a pooler in transaction mode in between (PgBouncer, RDS Proxy).
    #[arg(id = "database-pooler", long, value_name = "DATABASE_POOLER", env = "DATABASE_POOLER", default_value = "none", value_parser = one_of::<Pooler>())]
    pub pooler: Pooler,
    /// The maximum number of connections of this process, 1 to 1000.
    #[arg(id = "database-max-connections", long, value_name = "DATABASE_MAX_CONNECTIONS", env = "DATABASE_MAX_CONNECTIONS", default_value_t = 10,
          value_parser = trimmed(value_parser!(u32).range(DATABASE_CONNECTIONS)))]
    pub max_connections: u32,
    /// The time for one transaction, after which its connection is closed, from 100ms to 1m.
    #[arg(id = "database-timeout", long, value_name = "DATABASE_TIMEOUT", env = "DATABASE_TIMEOUT", default_value = "5s", value_parser = duration_in(TIMEOUTS))]
    pub timeout: Duration,
}
