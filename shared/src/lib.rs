//! The code that the API and the worker share: events, topics, tables, the cache, and the runtime of a service.
//!
//! The backbone knows no domain. Each part uses only the parts before it: [`runtime`] (settings, log, metrics, traces,
//! signals) → [`kafka`] (topics, and how a record encodes an event) → [`client`] (services that call each other) →
//! [`store`] (PostgreSQL) → [`cache`] (Redis). The domains use the backbone: [`ads`], [`devices`] and [`placements`].

#![warn(missing_docs)]

pub mod ads;
pub mod cache;
pub mod client;
pub mod devices;
pub mod kafka;
pub mod placements;
pub mod runtime;
pub mod store;
