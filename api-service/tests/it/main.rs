//! Tests of the real server, in this process, with real Kafka, PostgreSQL and Redis.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may fail loudly"
)]

mod access_log;
mod app;
mod batch;
mod batch_kafka_away;
mod binary;
mod broken_settings;
mod cloud_events;
mod contract;
mod deadlines;
mod docs;
mod encodings;
mod event_log;
mod framing;
mod half_close;
mod health;
mod history;
mod hostile;
mod http;
mod internal_port;
mod issuer;
mod limits;
mod missing_topic;
mod prelude;
mod producer_reborn;
mod published_keys;
mod read;
mod read_degraded;
mod read_races;
mod record_sizes;
mod replicas;
mod shutdown;
mod shutdown_flush;
mod sized;
mod submit;
mod tables;
mod topic;
mod unknown_limits;
mod walk;
