//! Why a term of the relay ended.

use shared::store::Failure;

use crate::observe::panics::Panicked;

/// Why a term ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("the worker shuts down")]
    Stopped,
    #[error("another relay has the lease")]
    LeaseLost,
    #[error("another relay has shut out this one")]
    Fenced,
    #[error("Kafka: {0:#}")]
    Kafka(anyhow::Error),
    #[error("PostgreSQL: {0}")]
    Postgres(Failure),
    #[error("it makes no progress")]
    Hung,
    #[error("the code {0}")]
    Panicked(Panicked),
}

impl End {
    /// All values of [`Self::reason`].
    pub const REASONS: [&'static str; 7] = ["stopped", "lease_lost", "fenced", "kafka", "postgres", "hung", "panicked"];

    /// Its label in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::LeaseLost => "lease_lost",
            Self::Fenced => "fenced",
            Self::Kafka(_) => "kafka",
            Self::Postgres(_) => "postgres",
            Self::Hung => "hung",
            Self::Panicked(_) => "panicked",
        }
    }
}
