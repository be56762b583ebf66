//! The whole system as it ships: both binaries, on real servers, through what it has to survive.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod crashes;
mod freezes;
mod kit;
mod lag;
mod outages;
mod planted;
mod redis_cluster;
mod rolling;
mod secured_kafka;
mod telemetry;
