//! `POST /events` against bare axum parsing the same body, beside the same running Kafka; and against one
//! that also has Kafka acknowledge it.

use crate::bed::{Bare, Bed, Site};
use crate::load::{Latency, Load};
use crate::report::Figure;
use crate::rows::{saturate, take_turns};
use crate::serve::Kind;
use crate::usage::Usage;
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
    let load = |base| Load {
        base,
        path: "/events",
        lines: &lines,
        content_type: Some("application/json"),
        token: &bed.token,
        connections: CONNECTIONS,
    };
    let mut last: Option<(Latency, Vec<Usage>)> = None;
    let [figure, ceiling, produced] = take_turns(
        scale.rounds,
        ["api", "bare axum", "axum + Kafka"],
        [
            &mut || {
                let (outcome, usages) = saturate(bed, &api, &load(&api.url), scale.turn())?;
                last = Some((outcome.latency, usages));
                Ok(outcome.rate)
            },
            &mut || Ok(load(&bare.url).saturate(scale.turn())?.rate),
            &mut || Ok(load(&produce.url).saturate(scale.turn())?.rate),
        ],
    )?;
    let open = load(&api.url);
    let open = Load { connections: 64, ..open }.at_rate(RATE, scale.turn())?;
    println!("  at {RATE} a second: p99 {:.2} ms", open.latency.p99);
    let (saturated, usages) = last.unzip();
    let mut latencies: Vec<_> =
        saturated.map(|latency| ("saturated (closed loop)".to_owned(), latency)).into_iter().collect();
    latencies.push((format!("at {RATE} requests/s (open loop, corrected)"), open.latency));
    let row = Figure {
        name: "POST /events".into(),
        unit: "requests/s",
        figure,
        latencies,
        usages: usages.unwrap_or_default(),
        ..Figure::default()
    };
    let ceilings =
        vec![("bare axum parsing the same body", ceiling), ("bare axum that also awaits Kafka, no more", produced)];
    Ok(vec![row.against(ceilings, 0.60)])
}
