//! The latency from acceptance to visibility at 1,000 events a second, and the memory it takes.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::bed::{self, Api, Site, TestBed};
use crate::load::{Latency, Load};
use crate::report::{Bound, Figure};
use crate::rounds::Series;
use crate::usage::Meter;
use crate::{Scale, disk, records};

const RATE: u32 = 1_000;
const DEVICES: usize = 1_000;
/// Events a second that a separate client posts and polls until they are visible, beside the load.
pub(crate) const PROBES: f64 = 50.0;
const PROBED: usize = 50;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "visible")?;
    let api = site.api(&[])?;
    let worker = site.worker(&[])?;
    let time = 3 * scale.turn();
    // Warm up first: Kafka's JVM compiles, which takes a quarter of two cores meanwhile, and pools connect.
    load(&site, &api, time)?;
    let meters = bed.meters(&[&api.service, &worker]);
    let began = site.sql("SELECT now()")?;
    let (posted, probed, disk) = std::thread::scope(|threads| {
        let probing = threads.spawn(|| bed.runtime.block_on(probe(&api.url, &bed.token, time)));
        let disk = threads.spawn(|| disk::probe(&bed.folder, time));
        (load(&site, &api, time), probing.join(), disk.join())
    });
    let posted = posted?;
    let probed = probed.map_err(|_| anyhow::anyhow!("the probe panicked"))??;
    let disk = disk.map_err(|_| anyhow::anyhow!("the disk's probe panicked"))??;
    let usages: Vec<_> = meters.iter().map(Meter::read).collect();
    site.until_caught_up(Duration::from_secs(30))?;
    let committed = committed(&site, &format!("accepted_at >= '{began}'"))?;
    bed::end(&worker)?;

    let visible = Figure {
        bound: Some(Bound::Below(50.0)),
        latencies: vec![
            (format!("the 202 to a GET that shows it, of {PROBES} events/s beside {RATE}/s"), probed),
            ("accepted to committed, of all events".to_owned(), committed),
            (format!("POST /events at {RATE} requests/s (open loop, corrected)"), posted),
            (disk::WHAT.to_owned(), disk),
        ],
        usages: usages.clone(),
        ..Figure::new("accepted to visible, p99", "ms", Series::once(probed.p99))
    };
    let memory = ["api-service", "worker-service"].map(|name| {
        let peak = usages.iter().find(|usage| usage.name == name).map_or(f64::NAN, |usage| usage.peak_mib);
        Figure {
            bound: Some(Bound::Below(64.0)),
            notes: vec!["the most it had, since its start".to_owned()],
            ..Figure::new(format!("resident memory of {name}"), "MiB", Series::once(peak))
        }
    });
    Ok([visible].into_iter().chain(memory).collect())
}

pub(crate) fn load(site: &Site<'_>, api: &Api, time: Duration) -> anyhow::Result<Latency> {
    let lines = records::lines(&site.bed.folder, "visible", (0..DEVICES).map(|n| records::body(n, 100)))?;
    Ok(Load::posts(&api.url, "/events", &lines, &site.bed.token, 64).at_rate(RATE, time)?.latency)
}

/// The latency from the API's acceptance to the commit, for the events that match the condition.
pub(crate) fn committed(site: &Site<'_>, condition: &str) -> anyhow::Result<Latency> {
    let [count, p50, p99, p999] = site.numbers(&format!(
        "SELECT count(*), 1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY took),
                1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY took),
                1000 * percentile_cont(0.999) WITHIN GROUP (ORDER BY took)
         FROM (SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - accepted_at) AS took
               FROM events WHERE {condition}) AS events"
    ))?;
    ensure!(count >= 1_000.0, "only {count} events");
    Ok(Latency { p50, p99, p999 })
}

async fn probe(url: &str, token: &str, time: Duration) -> anyhow::Result<Latency> {
    let client = reqwest::Client::new();
    follow_each(time, |number| {
        let (client, url, token) = (client.clone(), url.to_owned(), token.to_owned());
        async move { follow(&client, &url, &token, number).await }
    })
    .await
}

/// Follows events at a low rate, beginning with number 1: `follow` posts one and polls until it is visible, and returns
/// the time since its 202.
pub(crate) async fn follow_each<F>(time: Duration, follow: impl Fn(usize) -> F) -> anyhow::Result<Latency>
where
    F: Future<Output = anyhow::Result<Duration>> + Send + 'static,
{
    let mut every = tokio::time::interval(Duration::from_secs_f64(1.0 / PROBES));
    let mut probes = tokio::task::JoinSet::new();
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < time {
        every.tick().await;
        number += 1;
        probes.spawn(follow(number));
    }
    let mut took = Vec::new();
    while let Some(probe) = probes.join_next().await {
        took.push(probe??);
    }
    Ok(Latency::of(took))
}

async fn follow(client: &reqwest::Client, url: &str, token: &str, number: usize) -> anyhow::Result<Duration> {
    let device = format!("probe-{}", number % PROBED);
    let event_id = format!("{number}");
    let body =
        format!(r#"{{"device_id":"{device}","event_id":"{event_id}","payload":{}}}"#, records::payload(number, 100));
    let post = client.post(format!("{url}/events")).bearer_auth(token).header("content-type", "application/json");
    post.body(body).send().await?.error_for_status()?;
    let accepted = Instant::now();
    let shown = format!(r#""event_id":"{event_id}""#);
    loop {
        let answer = client.get(format!("{url}/resource/{device}")).bearer_auth(token).send().await?;
        if answer.text().await?.contains(&shown) {
            return Ok(accepted.elapsed());
        }
        ensure!(accepted.elapsed() < Duration::from_secs(10), "event {number} does not show");
        // The result is at most this much too high. Polling more often would slow down what is measured.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
