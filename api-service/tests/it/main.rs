//! The real server, in this process, against real Kafka, PostgreSQL and Redis.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may fail loudly"
)]

mod app;
mod bad_input;
mod binary;
mod broken_settings;
mod deadlines;
mod health;
mod http;
mod internal_port;
mod kafka_away;
mod logs;
mod producer_reborn;
mod read;
mod read_degraded;
mod rights;
mod shutdown;
mod submit;
mod topic;
