//! A consumer group: its handler, its partitions, its lag and its health.
//!
//! The way of a record: [`poll`] and [`group`] (the group, and a runner for each partition) → [`partition`] (takes records
//! in, does what the scheduler says, moves the committed offset) → [`apply`] (the handler's transaction, and the fence) or
//! a dead letter.

pub mod apply;
pub mod budget;
pub mod event_lines;
pub mod event_log;
pub mod group;
pub mod handler;
pub mod health;
pub mod lag;
pub mod partition;
pub mod poll;
pub mod registry;
pub mod seek;
pub mod tasks;
pub mod topic_check;
