//! What the API and the worker must agree on: the event, the topic, the store, the cache, and how
//! a service is configured, observed and ended.
//!
//! The way of the data: [`event`] (what a device says) → [`topic`] (how it lies in Kafka) →
//! [`store`] (what PostgreSQL holds) → [`cache`] (what Redis holds). All SQL stands in [`store`],
//! all Lua in [`cache`], and [`event`] does no I/O at all.

#![warn(missing_docs)]

pub mod cache;
pub mod config;
pub mod event;
pub mod kafka;
pub mod lifecycle;
pub mod ops;
pub mod position;
pub mod probe;
pub mod store;
pub mod telemetry;
pub mod topic;
mod untold;
