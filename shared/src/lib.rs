//! What the API and the worker must agree on: events, topics, tables and the cache, and how a service runs.
//!
//! The backbone, of which each part uses only those before it: [`runtime`] (settings, log, metrics, traces, signals) →
//! [`kafka`] (topics, and how an event lies in a record) → [`store`] (PostgreSQL) → [`cache`] (Redis). It knows no domain.
//! Above it stand the domains: [`devices`].

#![warn(missing_docs)]

pub mod cache;
pub mod devices;
pub mod kafka;
pub mod runtime;
pub mod store;
