//! `POST /events` against bare axum parsing the same body, beside the same running Kafka; and against one
//! that also has Kafka acknowledge it.

use crate::bed::{Bare, Bed, Site};
use crate::load::Load;
use crate::report::Figure;
use crate::rows::beside;
use crate::serve::Kind;
use crate::{Scale, records};

const CONNECTIONS: u32 = 256;
const DEVICES: usize = 1_000;
/// For the latency that a caller sees while there is room.
const RATE: u32 = 2_000;

pub(crate) fn measure(bed: &Bed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "post")?;
    let api = site.api(&[])?;
    let bare = Bare::start(Kind::Parse, &[])?;
    // What the floor leaves no room for: it says how much of the distance is Kafka's.
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
