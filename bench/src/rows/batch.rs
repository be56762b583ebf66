//! `POST /events/batch` against a bare librdkafka producer with the same records and settings.

use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::load::{Latency, Load};
use crate::records::{self, Bare, Ready};
use crate::report::{Figure, as_f64};
use crate::rounds::Turn;
use crate::rows::{saturate, take_turns};
use crate::usage::Usage;

const EVENTS: usize = 1_000;
const BODIES: usize = 20;
const DEVICES: usize = 1_000;
const CONNECTIONS: u32 = 16;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "batch")?;
    let api = site.api(&[])?;
    let bare = Bare::new(&site)?;
    let bodies = (0..BODIES).map(|body| {
        let events: Vec<_> = (0..EVENTS).map(|n| records::body((body * EVENTS + n) % DEVICES, 100)).collect();
        format!("[{}]", events.join(","))
    });
    let lines = records::lines(&bed.folder, "batch", bodies)?;
    let ready: Vec<Ready> = (0..EVENTS * BODIES)
        .map(|n| Ok(Ready::of(&records::event(n, DEVICES, "batch")?)))
        .collect::<anyhow::Result<_>>()?;
    let load = Load::posts(&api.url, "/events/batch", &lines, &bed.token, CONNECTIONS);
    let mut last: Option<(Latency, Vec<Usage>)> = None;
    let [figure, ceiling] = take_turns(scale.rounds, ["api", "bare producer"], |turn| {
        if turn > 0 {
            return bare.saturate(&ready, scale.turn()).map(Turn::from);
        }
        let (outcome, usages) = saturate(bed, &api, &load, scale.turn())?;
        last = Some((outcome.latency, usages));
        Ok(Turn { figure: outcome.rate * as_f64(EVENTS), load: Some(outcome.share) })
    })?;
    let (latency, usages) = last.unzip();
    let usages = usages.unwrap_or_default();
    let memory = Figure::memory("batches are posted", "api-service", &usages, [128.0, 64.0]);
    let row = Figure {
        latencies: latency.map(|it| ("a batch of 1,000, saturated (closed loop)".to_owned(), it)).into_iter().collect(),
        usages,
        ..Figure::new("POST /events/batch", "events/s", figure)
    };
    Ok(vec![row.against(vec![("a bare librdkafka producer", ceiling)], 0.60), memory])
}
