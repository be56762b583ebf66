//! From accepted to committed on partitions without a backlog, while another partition drains.

use std::time::Duration;

use crate::bed::{self, Site, TestBed};
use crate::load::long_enough;
use crate::records::{self, Bare};
use crate::report::{Bound, Figure, as_f64, number};
use crate::rounds::Series;
use crate::rows::visible;
use crate::usage::Meter;
use crate::{Scale, disk};

const PARTITION: i32 = 0;
const DEVICES: usize = 10_000;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "backlog")?;
    let api = site.api(&[])?;
    let worker = site.worker(&[])?;
    visible::load(&site, &api, visible::RATE, scale.turn())?;
    site.until_caught_up(Duration::from_secs(30))?;
    bed::end(&worker)?;

    println!("  filling partition {PARTITION} with {} events", number(as_f64(scale.backlog)));
    let backlog = (0..scale.backlog).map(|n| records::event(n, DEVICES, "backlog"));
    Bare::new(&site)?.fill(backlog, Some(PARTITION))?;
    site.sql("CHECKPOINT")?;
    let worker = site.worker(&[])?;
    let meters = bed.meters(&[&api.service, &worker]);
    // From here on the partition drains; the other partitions' events arrive meanwhile.
    while site.sql("SELECT count(*) FROM (SELECT FROM events WHERE request_id = 'backlog' LIMIT 1) AS one")? == "0" {
        std::thread::sleep(Duration::from_millis(100));
    }
    let began = site.sql("SELECT now()")?;
    // Five sixths of the events are of other partitions.
    let time = long_enough(2 * scale.turn(), visible::RATE * 5 / 6);
    let (loaded, disk) = std::thread::scope(|threads| {
        let disk = threads.spawn(|| disk::probe(&bed.folder, time));
        (visible::load(&site, &api, visible::RATE, time), disk.join())
    });
    loaded?;
    let disk = disk.map_err(|_| anyhow::anyhow!("the disk's probe panicked"))??;
    let ended = site.sql("SELECT now()")?;
    site.until_caught_up(Duration::from_secs(600))?;
    let usages: Vec<_> = meters.iter().map(Meter::read).collect();
    bed::end(&worker)?;
    let memory = Figure::memory("one partition drains", "worker-service", &usages, [128.0, 64.0]);

    let [count, seconds, drained_at] = site.numbers(
        "SELECT count(*), extract(epoch FROM max(at) - min(at)), extract(epoch FROM max(at)) FROM
           (SELECT pg_xact_commit_timestamp(xmin) AS at FROM events WHERE request_id = 'backlog') AS events",
    )?;
    let during = format!("accepted_at BETWEEN '{began}' AND '{ended}' AND request_id <> 'backlog'");
    let latency = visible::committed(&site, &format!("{during} AND partition <> {PARTITION}"))?;
    let behind = visible::committed(&site, &format!("{during} AND partition = {PARTITION}"));
    let [left] = site.numbers(&format!("SELECT {drained_at} - extract(epoch FROM timestamptz '{ended}')"))?;
    let mut notes = vec![format!(
        "partition {PARTITION} drained {} events in {seconds:.1} s: {} a second",
        number(count),
        number(count / seconds)
    )];
    notes.push(match left {
        ..0.0 => format!("the backlog was gone {:.1} s before the load ended: use a larger BENCH_BACKLOG", -left),
        _ => "the backlog outlasted the load".to_owned(),
    });
    if let Ok(behind) = behind {
        notes.push(format!(
            "events behind the backlog waited {:.1} s (p50), {:.1} s (p99)",
            behind.p50 / 1e3,
            behind.p99 / 1e3
        ));
    }
    Ok(vec![
        Figure {
            bound: Some(Bound::Below(50.0)),
            latencies: vec![
                ("accepted to committed, partitions without a backlog, 1,000/s".to_owned(), latency),
                (disk::WHAT.to_owned(), disk),
            ],
            usages,
            notes,
            ..Figure::new("beside a backlog, p99", "ms", Series::once(latency.p99))
        },
        Figure::new("drain of one partition", "events/s", Series::once(count / seconds)),
        memory,
    ])
}
