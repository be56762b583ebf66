//! `make soak`: a long run at 1,000 events a second with short retention. Whatever grows there would grow forever.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::bed::{Site, TestBed, end, meter};
use crate::rounds::Series;
use crate::rows::visible;
use crate::usage::Meter;

/// Samples per run: one a minute in a run of an hour.
const SAMPLES: usize = 60;
/// The sample that the end is compared with; both are medians of [`AROUND`] samples.
const TENTH: usize = 10;
const AROUND: usize = 5;
/// The retention in samples: three minutes in a run of an hour, but at least the worker's minimum.
const RETENTION_SAMPLES: u32 = 3;
const LEAST_RETENTION: Duration = Duration::from_secs(60);

/// How long.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Length of the run in seconds.
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(600..))]
    seconds: u32,
}

/// A measured value: its name in the report, its name on the terminal, and its slack. The end may exceed the tenth
/// sample by a tenth plus the slack, which covers changes between two runs of autovacuum, between two batches, or
/// while the disk stalls.
type Measure = (&'static str, &'static str, f64);

const MEASURES: [Measure; 10] = [
    ("events", "table events, MiB", 4.0),
    ("events_indexes", "its indexes, MiB", 4.0),
    ("resources", "resources with indexes, MiB", 4.0),
    ("dead_events", "dead tuples of events", 60_000.0),
    ("dead_resources", "dead tuples of resources", 20_000.0),
    ("oldest_event", "age of the oldest event, s", 30.0),
    ("lag", "lag, events", 1_000.0),
    ("committed", "accepted to committed, p99, ms", 100.0),
    ("api_memory", "api-service, MiB", 4.0),
    ("worker_memory", "worker-service, MiB", 4.0),
];
/// Measures with more slack. Autovacuum runs once a minute: the space of expired rows not yet removed, and of emptied
/// index pages not yet reused, depends on its phase relative to the expiry. So the end may exceed by as much as one
/// sample wrote before anything expired.
const EXPIRING: [&str; 2] = ["events", "events_indexes"];

#[derive(Debug, Serialize)]
struct Course {
    measure: &'static str,
    #[serde(skip)]
    name: &'static str,
    samples: Series,
    at_the_tenth: f64,
    at_the_end: f64,
    holds: bool,
}

impl Course {
    /// Compares the median around the tenth sample with the median at the end.
    fn of((measure, name, slack): Measure, samples: Vec<f64>) -> Self {
        let middle = |from: usize| Series::of(samples.iter().skip(from).take(AROUND).copied().collect()).median();
        let at_the_tenth = middle(TENTH - 1 - AROUND / 2);
        let at_the_end = middle(samples.len().saturating_sub(AROUND));
        let written = samples.get(1).zip(samples.first()).map_or(0.0, |(second, first)| second - first);
        let slack = if EXPIRING.contains(&measure) { written.max(slack) } else { slack };
        let holds = at_the_end <= at_the_tenth * 1.1 + slack;
        Self { measure, name, samples: Series::of(samples), at_the_tenth, at_the_end, holds }
    }
}

/// Runs the soak; returns whether every measure has held its level since the tenth sample.
pub(crate) fn run(bed: &TestBed, settings: &Settings, folder: &Path) -> anyhow::Result<bool> {
    let time = Duration::from_secs(settings.seconds.into()) / u32::try_from(SAMPLES)?;
    let retention = (time * RETENTION_SAMPLES).max(LEAST_RETENTION);
    println!("{SAMPLES} times {} s at 1,000 events/s; EVENTS_RETENTION={}s", time.as_secs(), retention.as_secs());
    let site = Site::new(bed, "soak")?;
    let api = site.api(&[])?;
    let worker = site.worker(&[("EVENTS_RETENTION", &format!("{}s", retention.as_secs()))])?;
    let meters = [meter(&api.service), meter(&worker)];
    let mut samples: Vec<[f64; MEASURES.len()]> = Vec::new();
    let began = Instant::now();
    for number in 1..=SAMPLES {
        visible::load(&site, &api, visible::RATE, time)?;
        let lag = devstack::committed(&site.scope.endpoints.kafka_brokers, &site.scope.input_topic, &site.scope.group)?;
        let sample = sample(&site, &meters, time, &lag)?;
        let told = MEASURES.iter().zip(&sample).map(|((_, name, _), figure)| format!("{name}: {figure:.1}"));
        let told: Vec<_> = told.collect();
        println!("{number:>3}, {:>5.0} s  {}", began.elapsed().as_secs_f64(), told.join("; "));
        samples.push(sample);
    }
    site.until_caught_up(Duration::from_secs(60))?;
    end(&worker)?;
    let of = |(at, measure): (usize, Measure)| {
        Course::of(measure, samples.iter().filter_map(|sample| sample.get(at)).copied().collect())
    };
    let courses: Vec<_> = MEASURES.into_iter().enumerate().map(of).collect();
    tell(&courses);
    let report = folder.join("soak.json");
    std::fs::write(&report, serde_json::to_vec_pretty(&courses)?)?;
    println!("{}", report.display());
    Ok(courses.iter().all(|course| course.holds))
}

#[expect(clippy::cast_precision_loss, reason = "a lag")]
fn sample(
    site: &Site<'_>,
    meters: &[Meter; 2],
    time: Duration,
    lag: &std::collections::BTreeMap<i32, (i64, i64)>,
) -> anyhow::Result<[f64; MEASURES.len()]> {
    const MIB: &str = "/ 1048576.0";
    let [events, indexes, resources, dead_events, dead_resources, oldest] = site.numbers(&format!(
        "SELECT pg_table_size('events') {MIB}, pg_indexes_size('events') {MIB}, pg_total_relation_size('resources') {MIB},
                (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'events'),
                (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'resources'),
                (SELECT coalesce(extract(epoch FROM now() - min(accepted_at)), 0) FROM events)"
    ))?;
    let lag: i64 = lag.values().map(|(committed, end)| end - committed).sum();
    let committed = visible::committed(site, &format!("accepted_at >= now() - interval '{} s'", time.as_secs()))
        .context("of the last sample's events")?;
    let [api, worker] = meters.each_ref().map(|meter| meter.read().resident_mib);
    Ok([events, indexes, resources, dead_events, dead_resources, oldest, lag as f64, committed.p99, api, worker])
}

fn tell(courses: &[Course]) {
    let (of, around) = (format!("of {SAMPLES} samples"), format!("around {TENTH}"));
    println!("\n{of:<34} {around:>12} {:>12} {:>12} {:>12}", "at the end", "least", "most");
    for Course { name, samples, at_the_tenth, at_the_end, holds, .. } in courses {
        let (least, most, verdict) = (samples.min(), samples.max(), if *holds { "holds" } else { "GROWS" });
        println!("{name:<34} {at_the_tenth:>12.1} {at_the_end:>12.1} {least:>12.1} {most:>12.1} {verdict}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(measure: &str, figure: impl Fn(usize) -> f64) -> Course {
        let measure = MEASURES.into_iter().find(|(name, ..)| *name == measure).unwrap();
        Course::of(measure, (1..=SAMPLES).map(figure).collect())
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn what_grows_is_told_and_what_comes_and_goes_is_not() {
        let steady = course("events", |_| 100.0);
        assert_eq!((steady.at_the_tenth, steady.at_the_end, steady.holds), (100.0, 100.0, true));
        let growing = course("events", |n| 100.0 + n as f64);
        assert_eq!((growing.at_the_tenth, growing.at_the_end, growing.holds), (110.0, 158.0, false));
        // One sample's writes may wait for autovacuum, but no more.
        assert!(course("events", |n| (n as f64 * 20.0).min(if n > 30 { 100.0 } else { 80.0 })).holds);
        assert!(!course("events", |n| (n as f64 * 20.0).min(80.0 + n as f64)).holds);
        // It may grow until it is full, and may be lower than usual at the end.
        assert!(course("events", |n| (n as f64 * 50.0).min(400.0)).holds);
        assert!(course("worker_memory", |n| if n > 55 { 20.0 } else { 40.0 }).holds);
        // A single stall does not count as growth.
        assert!(course("committed", |n| if n == 58 { 5_000.0 } else { 30.0 }).holds);
        assert!(!course("lag", |n| if n > 50 { 9_000.0 } else { 30.0 }).holds);
    }
}
