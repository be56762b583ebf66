//! The worker on real Kafka, PostgreSQL and Redis.

mod dead_letters;
mod effects;
mod failing;
mod groups;
mod kit;
mod rations;
