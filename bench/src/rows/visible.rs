//! The latency from acceptance to visibility at 1,000 events a second, against a bare chain, and the memory it takes.

mod chain;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use self::chain::Chain;
use crate::bed::{self, Api, Site, TestBed};
use crate::load::{Latency, Load, PROBES};
use crate::report::{Bound, Figure};
use crate::rounds::Turn;
use crate::rows::take_turns;
use crate::usage::{Meter, Usage};
use crate::{Scale, disk, records};

/// Events a second of the load. In the row `visible`, [`FOLLOWED`] are among them.
pub(crate) const RATE: u32 = 1_000;
const DEVICES: usize = 1_000;
/// Events a second that a separate client sends and polls until they are visible.
pub(crate) const FOLLOWED: u32 = 250;
/// Their devices. The events of one are twenty seconds apart, so that each is seen before the next one.
const PROBED: usize = 5_000;
/// The time for an event to show.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two polls. More often would slow down what is measured.
const POLL: Duration = Duration::from_millis(2);

/// What was seen of ours.
#[derive(Default)]
struct Seen {
    posted: Vec<Latency>,
    disk: Vec<Latency>,
    usages: Vec<Usage>,
}

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "visible")?;
    let (api, worker) = (site.api(&[])?, site.worker(&[])?);
    let beside = Site::new(bed, "chain")?;
    let chain = Chain::start(&beside)?;
    let time = Duration::from_secs(PROBES.div_ceil(FOLLOWED * scale.rounds).into()).max(2 * scale.turn());
    let (mut seen, mut turns, mut all) = (Seen::default(), 0, [Vec::new(), Vec::new()]);
    let mut began = String::new();
    // The first round is a warm-up: Kafka's JVM compiles, which takes a quarter of two cores meanwhile, and pools connect.
    let [figure, ceiling] = take_turns(scale.rounds, ["p99 ms", "bare chain"], |turn| {
        let took = match turn {
            0 => ours(&site, &api, &worker, time, &mut seen)?,
            _ => bed.runtime.block_on(chain.measure(time))?,
        };
        let p99 = Latency::of(took.clone()).p99;
        turns += 1;
        // Of the warm-up, nothing counts.
        if turns == all.len() {
            began = site.sql("SELECT now()")?;
        } else if turns > all.len() {
            all.get_mut(turn).context("a turn")?.extend(took);
        }
        Ok(Turn::from(p99))
    })?;
    chain.end()?;
    site.until_caught_up(Duration::from_secs(30))?;
    let committed = committed(&site, &format!("accepted_at >= '{began}'"))?;
    bed::end(&worker)?;

    let [probed, of_chain] = all.map(Latency::of);
    let Seen { posted, disk, usages } = seen;
    let last = |what: String, all: &[Latency]| all.last().map(|last| (what, *last));
    let mut latencies = vec![
        (format!("the 202 to a GET that shows it, of {FOLLOWED} among {RATE} events/s"), probed),
        ("the bare chain: an acknowledgement to a GET of Redis that shows it, likewise".to_owned(), of_chain),
        ("accepted to committed, of all events".to_owned(), committed),
    ];
    latencies.extend(last("POST /events meanwhile (open loop, corrected; last round)".to_owned(), &posted));
    latencies.extend(last(format!("{}; last round", disk::WHAT), &disk));
    let memory = ["api-service", "worker-service"]
        .map(|service| Figure::memory("1,000 events/s", service, &usages, [48.0, 32.0]));
    let visible = Figure {
        latencies,
        usages,
        ..Figure::new("accepted to visible, p99", "ms", figure.clone()).bound(Bound::Below(50.0)).goal(15.0)
    };
    let times = Figure::new("accepted to visible, p99, over a bare chain", "ms", figure)
        .beside(vec![("produce, consume, one insert, one SET", ceiling)])
        .bound(Bound::RatioAtMost(2.5))
        .goal(1.5);
    Ok([visible, times].into_iter().chain(memory).collect())
}

/// A turn of the services: how long each followed event took.
fn ours(
    site: &Site<'_>,
    api: &Api,
    worker: &devstack::Service,
    time: Duration,
    seen: &mut Seen,
) -> anyhow::Result<Vec<Duration>> {
    let bed = site.bed;
    let meters = bed.meters(&[&api.service, worker]);
    let (posted, probed, disk) = std::thread::scope(|threads| {
        let probing = threads.spawn(|| bed.runtime.block_on(probe(&api.url, &bed.token, time)));
        let disk = threads.spawn(|| disk::probe(&bed.folder, time));
        (load(site, api, RATE - FOLLOWED, time), probing.join(), disk.join())
    });
    seen.posted.push(posted?);
    seen.disk.push(disk.map_err(|_| anyhow::anyhow!("the disk's probe panicked"))??);
    seen.usages = meters.iter().map(Meter::read).collect();
    probed.map_err(|_| anyhow::anyhow!("the probe panicked"))?
}

pub(crate) fn load(site: &Site<'_>, api: &Api, rate: u32, time: Duration) -> anyhow::Result<Latency> {
    let lines = records::lines(&site.bed.folder, "visible", (0..DEVICES).map(|n| records::body(n, 100)))?;
    Ok(Load::posts(&api.url, "/events", &lines, &site.bed.token, 64).at_rate(rate, time)?.latency)
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
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let samples = count as u64;
    Ok(Latency { samples, p50, p99, p999 })
}

async fn probe(url: &str, token: &str, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let client = reqwest::Client::new();
    follow_each(time, |number| {
        let (client, url, token) = (client.clone(), url.to_owned(), token.to_owned());
        async move { follow(&client, &url, &token, number).await }
    })
    .await
}

/// Follows events at a low rate, beginning with number 1: `follow` sends one and polls until it is visible, and returns
/// the time since it was accepted.
pub(crate) async fn follow_each<F>(time: Duration, follow: impl Fn(usize) -> F) -> anyhow::Result<Vec<Duration>>
where
    F: Future<Output = anyhow::Result<Duration>> + Send + 'static,
{
    let mut every = tokio::time::interval(Duration::from_secs(1) / FOLLOWED);
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
    Ok(took)
}

/// Asks until the answer contains the text; returns the time since then. The result is at most [`POLL`] too high.
async fn until_shown<F>(text: &str, ask: impl Fn() -> F) -> anyhow::Result<Duration>
where
    F: Future<Output = anyhow::Result<String>>,
{
    let accepted = Instant::now();
    while !ask().await?.contains(text) {
        ensure!(accepted.elapsed() < TIMEOUT, "an event does not show: {text}");
        tokio::time::sleep(POLL).await;
    }
    Ok(accepted.elapsed())
}

async fn follow(client: &reqwest::Client, url: &str, token: &str, number: usize) -> anyhow::Result<Duration> {
    let device = format!("probe-{}", number % PROBED);
    // Of its own in each turn.
    let event_id = format!("{number}-{:x}", fastrand::u64(..));
    let body =
        format!(r#"{{"device_id":"{device}","event_id":"{event_id}","payload":{}}}"#, records::payload(number, 100));
    let post = client.post(format!("{url}/events")).bearer_auth(token).header("content-type", "application/json");
    post.body(body).send().await?.error_for_status()?;
    let get = || async {
        let answer = client.get(format!("{url}/resource/{device}")).bearer_auth(token).send().await?;
        Ok(answer.text().await?)
    };
    until_shown(&format!(r#""event_id":"{event_id}""#), get).await
}
