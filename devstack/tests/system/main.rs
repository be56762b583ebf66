//! Tests of the whole system as it ships: both binaries on real servers, under all faults that they must survive.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod access_logs;
mod api_faults;
mod budget;
mod collector;
mod crashes;
mod dev;
mod documents;
mod freezes;
mod imports;
mod kafka_certificates;
mod kafka_properties;
mod kafka_tokens;
mod kit;
mod lag;
mod metrics;
mod named_faults;
mod outages;
mod planted;
mod pooler;
mod postgres_away;
mod prelude;
mod redis_cluster;
mod redis_refuses;
mod rollback;
mod rolling;
mod secrets;
mod secured_kafka;
mod settings;
mod telemetry;
mod tls;
mod token_endpoint;
mod traces;
mod unread_logs;
mod walk;
