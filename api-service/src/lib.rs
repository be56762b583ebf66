//! The binary that answers. An accepted event is in Kafka, acknowledged by all in-sync replicas,
//! before its sender hears of it; a resource is read from Redis, else from PostgreSQL.
//!
//! Each part uses only those before it: [`http`] (the server, limits, problems) ← [`auth`] ← [`ingest`] (events to
//! Kafka), [`cached`] (reads) ← [`backbone`] (what domains are given) ← [`devices`] ← [`domains`] ← [`config`] ←
//! [`app`]. A request comes through `http::server` → `http::layers` → a route of a domain.

pub mod app;
pub mod auth;
pub mod backbone;
pub mod cached;
pub mod config;
pub mod devices;
pub mod domains;
pub mod http;
pub mod ingest;
