//! Imports that most of these tests use.

pub(crate) use std::sync::Arc;
pub(crate) use std::time::{Duration, Instant};

pub(crate) use devstack::kit::{event, json_lines, logged, sample};
pub(crate) use futures_util::future::join_all;
pub(crate) use serde_json::{Value, json};

pub(crate) use crate::collector::Collector;
pub(crate) use crate::kit::{Api, Own, Sent, Servers, System, TEST_TIMEOUT, ask, blocking, direct};
