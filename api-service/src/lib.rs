//! The binary that answers. An accepted event is in Kafka, acknowledged by all in-sync replicas,
//! before its sender hears of it; a resource is read from Redis, else from PostgreSQL.
//!
//! The way of a request: [`server`] (the connection) → [`observe`] (request id, log, metrics,
//! problems) → [`app`] (every route) → [`auth`] → [`events`] or [`batch`] and [`producer`],
//! or [`resources`] or [`history`]. [`openapi`] says all of it to callers.

pub mod answers;
pub mod app;
pub mod auth;
pub mod batch;
pub mod body;
pub mod collapse;
pub mod config;
pub mod docs;
pub mod encoding;
pub mod events;
pub mod flights;
mod format;
pub mod health;
pub mod history;
pub mod in_flight;
mod intake;
mod kafka_log;
pub mod metrics;
mod named;
pub mod observe;
pub mod openapi;
pub mod probes;
pub mod problem;
pub mod producer;
pub mod rate;
pub mod request_id;
pub mod resources;
pub mod run;
pub mod server;
pub mod trace;
