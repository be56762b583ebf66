//! The API service. An accepted event is in Kafka, acknowledged by all in-sync replicas, before its sender gets the
//! response; a resource is read from Redis, otherwise from PostgreSQL.
//!
//! Each part uses only those before it: [`http`] (the server, limits, problems) ← [`auth`] ← [`ingest`] (events to
//! Kafka), [`cached`] (reads) ← [`backbone`] (the dependencies of domains) ← [`devices`], [`ads`],
//! [`placements`] ← [`domains`] ← [`config`] ← [`app`]. A request passes `http::server` → `http::layers` → a route of a domain.

pub mod ads;
pub mod app;
pub mod auth;
pub mod backbone;
pub mod cached;
pub mod config;
pub mod devices;
pub mod domains;
pub mod http;
pub mod ingest;
pub mod placements;
