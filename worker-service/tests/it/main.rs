//! The worker on real Kafka, PostgreSQL and Redis.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod dead_letters;
mod effects;
mod failing;
mod fences;
mod forget;
mod groups;
mod kit;
mod letters;
mod losses;
mod rations;
mod redrive;
mod refusing;
mod seek;
