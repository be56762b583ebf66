//! Devices: they send events, and dashboards read the state of each device.

mod config;
mod history;
mod openapi;
mod resource;
mod rights;
mod submit;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::get;
use shared::devices::{DeviceId, RESOURCE as RESOURCES};

pub use self::config::{DeviceBinding, DevicesConfig};
use self::rights::Rights;
use self::submit::Devices;
use crate::backbone::{Backbone, Domain, Served};
use crate::http::problem::Code;
use crate::http::subject::{Subject, SubjectKind, subject_kind};
use crate::ingest;

pub const DEVICE_NOT_ALLOWED: Code =
    Code::new(StatusCode::FORBIDDEN, "device_not_allowed", "The token is for another device");

pub const DOMAIN: Domain = Domain {
    name: "devices",
    claims: &[rights::CLAIM],
    codes: &[DEVICE_NOT_ALLOWED],
    kinds: &[&RESOURCES],
    openapi: openapi::parts,
    describe: || {},
};

const EVENTS: &str = "/events";
const EVENTS_BATCH: &str = "/events/batch";
const RESOURCE: &str = "/resource/{id}";
const RESOURCE_EVENTS: &str = "/resource/{id}/events";

/// The kind of subject of a device: the field `device_id` of the log.
static DEVICE: SubjectKind = subject_kind!(device_id);

pub fn serve(config: &DevicesConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Served> {
    let rights = Rights { binding: config.jwt_device_binding };
    let producer = backbone.producer(&config.topics.input)?;
    let devices = Devices { rights };
    let [one, many] = ingest::routes([EVENTS, EVENTS_BATCH], devices, producer.clone(), backbone.ingest.clone());
    let reads = Reads { rights, backbone: Arc::clone(backbone) };
    let latest = (RESOURCE, get(resource::show).with_state(reads.clone()));
    let past = (RESOURCE_EVENTS, get(history::show).with_state(reads));
    Ok(Served { routes: vec![one, many, latest, past], producers: vec![producer], ..Served::default() })
}

#[derive(Clone)]
struct Reads {
    rights: Rights,
    backbone: Arc<Backbone>,
}

fn subject(device: &DeviceId) -> Subject {
    Subject::new(&DEVICE, device.key())
}
