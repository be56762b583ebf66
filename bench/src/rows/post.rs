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
    let target = [("brokers", site.scope.endpoints.kafka_brokers.as_str()), ("topic", &site.scope.input_topic)];
    let produce = Bare::start(Kind::Produce, &target)?;
    // With as many connections as this, it sends more than with its linger of before.
    let eager = Bare::start(Kind::Produce, &[target[0], target[1], ("linger", "1")])?;
    let lines = records::lines(&bed.folder, "post", (0..DEVICES).map(|n| records::body(n, 100)))?;
    let load = |base| Load::posts(base, "/events", &lines, &bed.token, CONNECTIONS);
    let servers = [
        ("api", api.url.as_str()),
        ("bare axum", &bare.url),
        ("axum + Kafka", &produce.url),
        ("axum + Kafka, linger 1 ms", &eager.url),
    ];
    let (row, [figure, ceiling, produced, eager]) = beside(bed, scale, "POST /events", &api, servers, load, RATE)?;
    let ceilings = vec![("bare axum parsing the same body", ceiling)];
    let beside_kafka =
        vec![("bare axum that also awaits Kafka, no more", produced), ("the same with a linger of 1 ms", eager)];
    Ok(vec![
        row.against(ceilings, 0.50).goal(0.60),
        Figure::new("POST /events, over axum + Kafka", "requests/s", figure).against(beside_kafka, 1.00).goal(1.25),
    ])
}
