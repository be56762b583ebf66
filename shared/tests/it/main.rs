//! The store and the cache on real PostgreSQL and Redis.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod ads;
mod ads_campaigns;
mod ads_changes;
mod ads_days;
mod ads_incarnations;
mod ads_locks;
mod ads_published;
mod ads_reports;
mod cache;
mod client;
mod distribute;
mod erase;
mod expire;
mod fences;
mod id_sets;
mod id_sets_cluster;
mod id_sets_replicas;
mod idempotency;
mod inbox;
mod kit;
mod list;
mod migrations;
mod outbox;
mod placements;
mod pooler;
mod prelude;
mod probe;
mod records;
mod redis_cluster;
mod redis_cluster_changes;
mod redis_modes;
mod redis_refuses;
mod redis_roles;
mod redis_users;
mod schema;
mod schemas;
mod session_defaults;
mod standby;
mod store;
mod together;
