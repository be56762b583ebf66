//! Imports that most of these tests use.

pub(crate) use std::time::{Duration, Instant};

pub(crate) use devstack::kit::{blocking, found, until};
pub(crate) use futures_util::future::join_all;
pub(crate) use reqwest::{RequestBuilder, Response};
pub(crate) use serde_json::{Value, json};
pub(crate) use shared::devices::{DeviceId, queries};
pub(crate) use tokio::time::sleep;

pub(crate) use crate::app::{
    PARTITIONS, SECRET, TestApp, admin, config, is_refused, nowhere, prepared, problem, scope, token, user,
};
pub(crate) use crate::batch::batch;
pub(crate) use crate::binary::Binary;
pub(crate) use crate::contract::{checked, conforms};
pub(crate) use crate::http::{LIVE, Raw, post};
pub(crate) use crate::topic::{records, work};

/// The smallest valid event.
pub(crate) const EVENT: &str = r#"{"device_id":"d","payload":{}}"#;
