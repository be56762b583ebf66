//! Consumes events from Kafka into PostgreSQL, fences the Redis cache, and sends to the dead-letter topic what cannot be
//! processed.
//!
//! Each part uses only those before it: [`scheduler`] (decides what a partition does next; pure) → [`observe`] (metrics,
//! spans, panics) → [`source`] (what a handler reads) → [`dead_letters`] (the topic, and the commands `dlq`) → [`consumer`]
//! (a group and its partitions) → [`outbox`] (publishes what commands wrote) → the domains ([`devices`], [`ads`],
//! [`placements`]) → [`domains`] (which there are) → [`config`] (all settings) → [`worker`] and [`command`].

pub mod ads;
pub mod command;
pub mod config;
pub mod consumer;
pub mod dead_letters;
pub mod devices;
pub mod domains;
pub mod observe;
pub mod outbox;
pub mod placements;
pub mod scheduler;
pub mod source;
pub mod worker;
