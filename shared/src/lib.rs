//! What the API and the worker must agree on: events, topics, tables, the cache, and how a service is configured,
//! observed and ended.
//!
//! The backbone, of which each part uses only those before it: how a service runs ([`config`], [`lifecycle`],
//! [`telemetry`]) → [`json`], [`cloud_events`] and [`topic`] (how an event lies in Kafka) → [`store`] (PostgreSQL) →
//! [`cache`] (Redis). It knows no domain. Above it stand the domains: [`devices`].

#![warn(missing_docs)]

pub mod cache;
pub mod cloud_events;
pub mod config;
pub mod devices;
pub mod ids;
pub mod json;
pub mod kafka;
pub mod lifecycle;
pub mod ops;
pub mod position;
pub mod probe;
mod redact;
pub mod rfc3339;
pub mod store;
pub mod telemetry;
pub mod topic;
