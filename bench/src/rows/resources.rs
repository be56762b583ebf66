//! The worker with 10 thousand, 1 million and 10 million resources.

use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::records::Bare;
use crate::report::{Bound, Figure, as_f64, number};
use crate::rounds::Series;
use crate::rows::worker;

const RESOURCES: [usize; 3] = [10_000, 1_000_000, 10_000_000];
/// The minimum ratio of the worker's rate with the most resources to its rate with the fewest.
const FLOOR: f64 = 0.70;
const GOAL: f64 = 0.85;
/// Settings for a server with this many resources; PostgreSQL's defaults are for a very small machine.
const TUNED: [&str; 5] = [
    "shared_buffers = '4GB'",
    "max_wal_size = '16GB'",
    "wal_compression = 'lz4'",
    "checkpoint_timeout = '15min'",
    "track_commit_timestamp = on",
];

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    bed.tune(&TUNED)?;
    let mut rows: Vec<Figure> = Vec::new();
    for resources in RESOURCES {
        let site = Site::new(bed, "growth")?;
        println!("  {} resources", number(as_f64(resources)));
        fill(&site, resources)?;
        let bare = Bare::new(&site)?;
        let mut figure = Series::default();
        let (mut usages, mut wal) = (Vec::new(), 0.0);
        for round in 0..3 {
            // Spread the devices over the whole table: a prime stride visits all of them.
            let tag = format!("growth{round}");
            let events = scale.worker_events;
            let stride = (0..events).map(|n| {
                let device = n.wrapping_mul(7_919).wrapping_add(round * 104_729) % resources;
                crate::records::event_of(device, n, &tag)
            });
            bare.fill(stride, None)?;
            let [before] = site.numbers("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")?;
            let (rate, used) = worker::drain_filled(&site, &[], events, &tag)?;
            let [after] = site.numbers("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")?;
            wal = (after - before) / as_f64(events);
            println!("    round {}/3: {} events/s, {} bytes of WAL an event", round + 1, number(rate), number(wal));
            figure.push(rate);
            usages = used;
        }
        rows.push(Figure {
            usages,
            notes: vec![format!("{} bytes of WAL an event; {}", number(wal), TUNED.join(", "))],
            ..Figure::new(format!("worker, {} resources", number(as_f64(resources))), "events/s", figure)
        });
        site.sql("DROP TABLE events, resources")?;
    }
    if let [first, .., last] = &mut rows[..] {
        last.ratio = Some(Series::once(last.figure.median() / first.figure.median()));
        last.ceilings = vec![("the worker with the fewest resources", first.figure.clone())];
        last.bound = Some(Bound::RatioAtLeast(FLOOR));
        last.goal = Some(GOAL);
    }
    Ok(rows)
}

/// Inserts resources as the worker would after one event each, without the events.
fn fill(site: &Site<'_>, resources: usize) -> anyhow::Result<()> {
    site.sql(&format!(
        r#"INSERT INTO resources (id, payload, version, event_id, accepted_at, updated_at, topic, partition, "offset", appended_at)
           SELECT 'device-' || lpad(n::text, greatest(6, length(n::text)), '0'),
                  ('{{"metric":"temp_f","value":' || n % 60 || '.5,"observed_at":"2026-01-01T00:00:00Z","note":"' || left(md5(n::text), 12) || '"}}')::jsonb,
                  1, 'filled', now(), now(), 'filled', 0, n, now() - interval '1 hour'
           FROM generate_series(0, {}) AS n"#,
        resources.saturating_sub(1)
    ))?;
    site.sql("VACUUM ANALYZE resources")?;
    site.sql("CHECKPOINT").map(drop)
}
