//! Private, real servers for development and tests: Apache Kafka, PostgreSQL and Redis on free ports of
//! 127.0.0.1, with their data under `target/devstack`. They are removed when their owner ends.
//!
//! A test creates a [`Scope`]: its own database, topic names, group and key prefix on the shared servers
//! ([`endpoints`]). A test that breaks servers starts its own [`Stack`], whose [`Server`]s can be stopped,
//! killed, frozen and restarted. A [`Service`] is one of our two binaries, run against either.
//!
//! Everything here is synchronous: threads and processes. No child outlives this process, not
//! even when it is killed (see `spawn`).

mod binaries;
#[cfg(feature = "containers")]
mod containers;
mod dir;
mod disk;
mod endpoints;
mod group;
mod kafka;
pub mod kit;
mod log_pipe;
pub mod logs;
mod pgbouncer;
pub mod port;
mod postgres;
mod process;
mod proxy;
mod redis;
mod redis_cluster;
pub mod replay;
mod runbook;
mod said;
mod scope;
mod server;
mod service;
pub mod settings_page;
mod spawn;
mod stack;
mod tls;
pub mod token;
mod topic;
pub mod wire;

pub use binaries::binaries;
#[cfg(feature = "containers")]
pub use containers::Containers;
pub use dir::target as target_dir;
pub use disk::SmallDisk;
pub use endpoints::{Endpoints, endpoints};
pub use group::{await_coordinator, committed, stable_ends, until_caught_up};
pub use kafka::{Kafka, KafkaCluster, Secured};
pub use log_pipe::LogReader;
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, create_database, psql};
pub use process::{Family, Process, asked, family, tell_family};
pub use proxy::Proxy;
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use scope::{Scope, one_node};
pub use server::{Casualty, Server};
pub use service::{Program, Service};
pub use spawn::foreground;
pub use stack::{Ports, Stack, Up};
pub use tls::{Certificates, KeyPair};
pub use topic::read_topic;
