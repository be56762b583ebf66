//! The worker on real Kafka, PostgreSQL and Redis.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod added_partitions;
mod dead_letters;
mod effects;
mod event_log;
mod failing;
mod fences;
mod forget;
mod frozen;
mod groups;
mod kit;
mod late_answers;
mod letters;
mod losses;
mod made_anew;
mod memory;
mod rations;
mod redrive;
mod refusing;
mod seek;
mod shutdown;
