//! The store and the cache on real PostgreSQL and Redis.

mod cache;
mod kit;
mod schema;
mod store;
