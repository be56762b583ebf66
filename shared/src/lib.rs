//! What the API and the worker must agree on: events, topics, tables and the cache, and how a service runs.
//!
//! The backbone knows no domain. Each part uses only the parts before it: [`runtime`] (settings, log, metrics, traces,
//! signals) → [`kafka`] (topics, and how a record encodes an event) → [`store`] (PostgreSQL) → [`cache`] (Redis).
//! The domains use the backbone: [`devices`].

#![warn(missing_docs)]

pub mod cache;
pub mod devices;
pub mod kafka;
pub mod runtime;
pub mod store;
