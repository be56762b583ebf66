//! `POST /events` with growing numbers of connections and devices and growing payloads.

use crate::bed::{Site, TestBed};
use crate::load::Load;
use crate::report::Figure;
use crate::rounds::Series;
use crate::rows::saturate;
use crate::{Scale, records};

/// Connections, devices, bytes of payload.
const POINTS: [(u32, usize, usize); 9] = [
    (64, 1_000, 100),
    (256, 1_000, 100),
    (1_024, 1_000, 100),
    (256, 1, 100),
    (256, 100, 100),
    (256, 10_000, 100),
    (256, 1_000, 1_024),
    (64, 100, 16 * 1_024),
    (64, 100, 64 * 1_024),
];

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "api")?;
    let mut rows = Vec::new();
    for (connections, devices, bytes) in POINTS {
        // A new process for each point, so that its memory is that of this point.
        let api = site.api(&[])?;
        let lines = records::lines(&bed.folder, "api", (0..devices).map(|n| records::body(n, bytes)))?;
        let load = Load::posts(&api.url, "/events", &lines, &bed.token, connections);
        load.saturate(scale.turn() / 4)?;
        let (outcome, usages) = saturate(bed, &api, &load, scale.turn())?;
        let name = format!("POST: {connections} conns, {devices} devices, {bytes} B");
        println!("  {name}: {:.0} a second, p99 {:.1} ms", outcome.rate, outcome.latency.p99);
        let latencies = vec![("saturated (closed loop)".to_owned(), outcome.latency)];
        rows.push(Figure { latencies, usages, ..Figure::new(name, "requests/s", Series::once(outcome.rate)) });
    }
    Ok(rows)
}
