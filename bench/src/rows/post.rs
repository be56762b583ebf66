//! `POST /events` against bare axum that parses the same body while the same Kafka runs; and against a server
//! that also waits for Kafka's acknowledgement.

use crate::bed::{Bare, Site, TestBed};
use crate::load::Load;
use crate::report::Figure;
use crate::rows::beside;
use crate::serve::Kind;
use crate::{Scale, records};

const CONNECTIONS: u32 = 256;
const DEVICES: usize = 1_000;
/// Requests a second for the latency below saturation.
const RATE: u32 = 2_000;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "post")?;
    let api = site.api(&[])?;
    let bare = Bare::start(Kind::Parse, &[])?;
    // This ceiling has no floor: it shows how much of the difference is Kafka's.
    let target = [("brokers", site.scope.endpoints.kafka_brokers.as_str()), ("topic", &site.scope.input_topic)];
    let produce = Bare::start(Kind::Produce, &target)?;
    let lines = records::lines(&bed.folder, "post", (0..DEVICES).map(|n| records::body(n, 100)))?;
    let load = |base| Load::posts(base, "/events", &lines, &bed.token, CONNECTIONS);
    let bares = [("bare axum", &bare), ("axum + Kafka", &produce)];
    let (row, [ceiling, produced]) = beside(bed, scale, "POST /events", &api, bares, load, RATE)?;
    let ceilings =
        vec![("bare axum parsing the same body", ceiling), ("bare axum that also awaits Kafka, no more", produced)];
    Ok(vec![row.against(ceilings, 0.60)])
}
