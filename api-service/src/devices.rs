//! Devices: they send events, and dashboards read the state of each device.

mod config;
mod history;
mod list;
mod openapi;
mod query;
mod resource;
mod rights;
mod submit;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::{get, post};
use shared::devices::published::PUBLISHED;
use shared::devices::{self, DeviceId};

pub use self::config::{DeviceBinding, DevicesConfig};
use self::rights::Rights;
use self::submit::Devices;
use crate::auth::ClaimPaths;
use crate::backbone::{Backbone, Domain, Served};
use crate::http::compression::compressed;
use crate::http::problem::Code;
use crate::http::subject::{Subject, SubjectKind, subject_kind};
use crate::ingest;

pub const DEVICE_NOT_ALLOWED: Code =
    Code::new(StatusCode::FORBIDDEN, "device_not_allowed", "The token is for another device");

pub const DOMAIN: Domain = Domain {
    name: "devices",
    roles: rights::ROLES,
    codes: &[DEVICE_NOT_ALLOWED],
    kinds: &[&devices::RESOURCE],
    published: &[&PUBLISHED],
    openapi: openapi::parts,
    describe: || {},
};

const EVENTS: &str = "/events";
const EVENTS_BATCH: &str = "/events/batch";
const RESOURCE: &str = "/resource/{id}";
const RESOURCE_EVENTS: &str = "/resource/{id}/events";
const RESOURCES: &str = "/resources";
const RESOURCES_QUERY: &str = "/resources/query";

/// The kind of subject of a device: the field `device_id` of the log.
static DEVICE: SubjectKind = subject_kind!(device_id);

/// The claims that bind a token to devices, and where they are.
pub fn claims(config: &DevicesConfig) -> Vec<(&'static str, ClaimPaths)> {
    vec![(rights::CLAIM, config.jwt_devices_claim.clone())]
}

pub fn serve(config: &DevicesConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Served> {
    let rights = Rights { binding: config.jwt_device_binding, claim: config.jwt_devices_claim.to_string().into() };
    let producer = backbone.producer(&config.topics.input)?;
    let devices = Devices { rights: rights.clone() };
    let [one, many] = ingest::routes([EVENTS, EVENTS_BATCH], devices, producer.clone(), backbone.ingest.clone());
    let reads = Reads { rights, backbone: Arc::clone(backbone) };
    let latest = (RESOURCE, get(resource::show).with_state(reads.clone()));
    let past = (RESOURCE_EVENTS, compressed(get(history::show).with_state(reads.clone()), &backbone.answers));
    let all = (RESOURCES, get(list::show).with_state(reads.clone()));
    let several = (RESOURCES_QUERY, post(query::show).with_state(reads));
    let routes = vec![one, many, latest, past, all, several];
    Ok(Served { routes, producers: vec![producer], webhooks: vec![EVENTS, EVENTS_BATCH], ..Served::default() })
}

#[derive(Clone)]
struct Reads {
    rights: Rights,
    backbone: Arc<Backbone>,
}

fn subject(device: &DeviceId) -> Subject {
    Subject::new(&DEVICE, device.key())
}
