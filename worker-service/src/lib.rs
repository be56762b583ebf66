//! Consumes events from Kafka into PostgreSQL, fences the Redis cache, and sends to the
//! dead-letter topic what cannot be processed.
//!
//! The way of a record: [`poll`] (the group, and a lane for each partition) → [`drive`] (takes
//! records in, does what the lane says, moves the watermark) → [`lane`] (decides; pure) →
//! [`apply`] (the transaction and the fence) or [`dead_letter`].
//!
//! The operator's commands: [`command`] (the small ones), [`dlq`], [`seek`], [`forget`].

pub mod apply;
pub mod command;
pub mod config;
pub mod dead_letter;
pub mod devices;
pub mod dlq;
pub mod domains;
pub mod drive;
pub mod emf;
pub mod event_log;
pub mod handler;
pub mod health;
pub mod lag;
pub mod lane;
pub mod measured;
pub mod metrics;
pub mod panics;
pub mod poll;
pub mod registry;
pub mod seek;
pub mod topics;
pub mod trace;
pub mod unreadable;
pub mod worker;
