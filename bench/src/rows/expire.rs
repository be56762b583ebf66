//! Expiry during ingest, in a table with as many rows to expire as were expired before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::Scale;
use crate::bed::{self, Site, TestBed};
use crate::records::{self, Bare};
use crate::report::{Figure, as_f64, number};
use crate::rounds::Series;
use crate::rows::{take_turns, worker};
use crate::usage::{Meter, Usage};

const DEVICES: usize = 10_000;
/// The minimum ratio of the expiry rate to the worker's write rate.
const EXPIRY_FLOOR: f64 = 2.0;
/// The minimum share of the worker's rate that is left during expiry.
const INGEST_FLOOR: f64 = 0.90;
/// The prepared rows are two months old, so this retention expires them.
const EXPIRING: &str = "1day";
const NOT_EXPIRING: &str = "100years";
/// As in the row `growth`, with less WAL, because its disk also holds the table.
const TUNED: [&str; 6] = [
    "shared_buffers = '4GB'",
    "max_wal_size = '4GB'",
    "wal_compression = 'lz4'",
    "checkpoint_timeout = '15min'",
    "maintenance_work_mem = '1GB'",
    "track_commit_timestamp = on",
];
const TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    bed.tune(&TUNED)?;
    let site = Site::new(bed, "expire")?;
    println!("  {0} rows behind {0} that were expired and vacuumed", number(as_f64(scale.expire_rows)));
    prepare(&site, scale.expire_rows)?;
    let bare = Bare::new(&site)?;
    let alone = alone(&site, 2 * scale.turn())?;
    println!("  expiry alone: {} rows/s", number(alone));

    // Long enough to measure the rate: PostgreSQL updates its row counters about once a second.
    let events = 2 * scale.worker_events;
    let (mut turns, mut expired, mut usages) = (0, Series::default(), Vec::new());
    let names = ["worker beside the expiry", "worker without"];
    let [with, ceiling] = take_turns(scale.rounds.min(3), names, |turn| {
        turns += 1;
        let retention = if turn == 0 { EXPIRING } else { NOT_EXPIRING };
        let drained = drain(&site, &bare, events, &format!("expire{turns}"), retention)?;
        if turn == 0 {
            let rows = drained.expired.context("the expiry was not seen: use a larger BENCH_WORKER_EVENTS")?;
            println!("    {} rows/s expired beside {} events/s", number(rows), number(drained.events));
            expired.push(rows);
            usages = drained.usages;
        }
        Ok(drained.events)
    })?;
    let left = site.sql("SELECT EXISTS (SELECT FROM events WHERE recorded_at < now() - interval '1 day')")?;
    ensure!(left == "t", "every row expired before the end: use a larger BENCH_EXPIRE_ROWS");
    // Drop the warm-up round.
    expired.rounds.remove(0);

    let what = format!("{} rows to expire behind as many expired ones", number(as_f64(scale.expire_rows)));
    let expiry = Figure {
        notes: vec![what.clone(), format!("alone: {} rows/s", number(alone))],
        ..Figure::new("expiry beside an ingest", "rows/s", expired)
    };
    let ingest = Figure {
        usages,
        notes: vec![what, format!("{events} events a round, {DEVICES} devices, fresh ids; {}", TUNED.join(", "))],
        ..Figure::new("worker beside the expiry", "events/s", with.clone())
    };
    Ok(vec![
        expiry.against(vec![("what the worker writes meanwhile", with)], EXPIRY_FLOOR),
        ingest.against(vec![("the same worker, nothing to expire", ceiling)], INGEST_FLOOR),
    ])
}

/// Fills the table with twice the rows, as a worker would, then expires and vacuums the first half. The indexes are
/// built after the insert but before the deletion, so that they have contained the rows of both halves.
fn prepare(site: &Site<'_>, rows: usize) -> anyhow::Result<()> {
    let all = 2 * rows;
    for statement in [
        "DROP INDEX events_history, events_written",
        "ALTER TABLE events DROP CONSTRAINT events_pkey",
        &format!(
            r#"INSERT INTO events (device_id, event_id, type, payload, request_id, accepted_at, occurred_at, topic,
                                   partition, "offset", appended_at, outcome, recorded_at)
               SELECT 'device-' || lpad((n % {DEVICES})::text, 6, '0'), 'old-' || n, 'io.edge.device.reported.v1',
                      ('{{"metric":"temp_f","value":' || n % 60 || '.5,"note":"' || left(md5(n::text), 12) || '"}}')::jsonb,
                      'old', at, at, 'filled', n % 6, n, at, 'applied', at
               FROM generate_series(0, {all} - 1) AS n,
                    LATERAL (SELECT now() - interval '60 days' + n / 1000 * interval '25 ms' AS at) AS written"#
        ),
        "ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (device_id, event_id)",
        "CREATE INDEX events_history ON events (device_id, accepted_at DESC, event_id DESC)",
        "CREATE INDEX events_written ON events (recorded_at)",
        &format!(r#"DELETE FROM events WHERE "offset" < {rows}"#),
        "VACUUM ANALYZE events",
        "CHECKPOINT",
    ] {
        let from = Instant::now();
        site.sql(statement)?;
        let what: String = statement.chars().take_while(|letter| *letter != '(').collect();
        println!("    {what}: {:.0} s", from.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The rows per second that a worker without events expires.
fn alone(site: &Site<'_>, time: Duration) -> anyhow::Result<f64> {
    let worker = site.worker(&[("EVENTS_RETENTION", EXPIRING)])?;
    let mut deletions = Deletions::default();
    let deadline = Instant::now() + TIMEOUT;
    while deletions.seconds() < time.as_secs_f64() {
        ensure!(Instant::now() < deadline, "nothing is expired: {deletions:?}");
        deletions.look(site)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    bed::end(&worker)?;
    deletions.rate(f64::NEG_INFINITY, f64::INFINITY).context("nothing is expired")
}

struct Drained {
    events: f64,
    /// Rows expired per second meanwhile.
    expired: Option<f64>,
    usages: Vec<Usage>,
}

fn drain(site: &Site<'_>, bare: &Bare, events: usize, tag: &str, retention: &str) -> anyhow::Result<Drained> {
    bare.fill((0..events).map(|n| records::event(n, DEVICES, tag)), None)?;
    site.sql("CHECKPOINT")?;
    let worker = site.worker(&[("EVENTS_RETENTION", retention)])?;
    let meters = site.bed.meters(&[&worker]);
    let done = AtomicBool::new(false);
    let (caught_up, deletions) = std::thread::scope(|threads| {
        let watch = threads.spawn(|| {
            let mut deletions = Deletions::default();
            while !done.load(Ordering::Relaxed) {
                deletions.look(site)?;
                std::thread::sleep(Duration::from_millis(200));
            }
            anyhow::Ok(deletions)
        });
        let caught_up = site.until_caught_up(TIMEOUT);
        done.store(true, Ordering::Relaxed);
        (caught_up, watch.join())
    });
    caught_up?;
    let deletions = deletions.map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    let usages = meters.iter().map(Meter::read).collect();
    bed::end(&worker)?;
    let [first, last] = site.numbers(&format!(
        "SELECT extract(epoch FROM min(at)), extract(epoch FROM max(at)) FROM
           (SELECT pg_xact_commit_timestamp(xmin) AS at FROM events
            WHERE recorded_at > now() - interval '1 hour' AND request_id = '{tag}') AS committed"
    ))?;
    Ok(Drained { events: worker::rate(site, tag, events)?, expired: deletions.rate(first, last), usages })
}

/// Samples of (time, rows deleted so far); PostgreSQL updates the count about once a second.
#[derive(Debug, Default)]
struct Deletions(Vec<(f64, f64)>);

impl Deletions {
    fn look(&mut self, site: &Site<'_>) -> anyhow::Result<()> {
        let [at, rows] = site.numbers(
            "SELECT extract(epoch FROM clock_timestamp()), n_tup_del FROM pg_stat_user_tables WHERE relname = 'events'",
        )?;
        // Keep only changes: the time of a change is exact, the age of an unchanged count is unknown.
        if self.0.last().is_none_or(|last| last.1 < rows) {
            self.0.push((at, rows));
        }
        Ok(())
    }

    /// The time between the first change and the last.
    fn seconds(&self) -> f64 {
        match (self.0.get(1), self.0.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0.0,
        }
    }

    /// Rows per second between the first and the last change within a period; `None` with fewer than two changes.
    fn rate(&self, from: f64, to: f64) -> Option<f64> {
        let mut changes = self.0.iter().skip(1).filter(|(at, _)| (from..=to).contains(at));
        let (first, last) = (changes.next()?, changes.next_back()?);
        Some((last.1 - first.1) / (last.0 - first.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_what_was_told_within_the_span() {
        // The first sample counts the rows deleted before.
        let deletions = Deletions(vec![(0.0, 50.0), (1.0, 60.0), (2.0, 100.0), (4.0, 300.0), (5.0, 900.0)]);
        assert_eq!(deletions.rate(0.5, 4.5), Some(80.0));
        assert_eq!(deletions.rate(f64::NEG_INFINITY, f64::INFINITY), Some(210.0));
        assert_eq!(deletions.rate(1.5, 3.5), None);
        assert_eq!((deletions.seconds(), Deletions::default().seconds()), (4.0, 0.0));
    }
}
