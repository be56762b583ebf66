//! Imports for most of these tests.

pub(crate) use std::time::{Duration, Instant};

pub(crate) use devstack::kit::blocking;
pub(crate) use devstack::{Postgres, Proxy, Redis, psql};
pub(crate) use redis::AsyncCommands as _;
pub(crate) use shared::cache::{Cache, FenceOutcome, Fencer, Lookup, MISSING};
pub(crate) use shared::devices::queries::{Age, Expired, Outcome};
pub(crate) use shared::devices::{DeviceId, RESOURCE, queries};
pub(crate) use shared::store::{Class, Colocated, Distributed, Store};

pub(crate) use crate::kit::{
    Kit, assert_says, at, cached, count, event, eventually, id, key, postgres, workers, write,
};
pub(crate) use crate::redis_refuses::{Log, config_set, connection, start};
