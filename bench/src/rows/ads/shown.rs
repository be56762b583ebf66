//! Reports: a hit beside a hit of a resource, and how soon an accepted event is in its report.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::{FIRST_OF_MANY, LEASED, USERS, impression};
use crate::bed::{self, Api, Site};
use crate::load::{Latency, Load, long_enough};
use crate::report::{Bound, Figure};
use crate::rounds::Series;
use crate::rows::take_turns;
use crate::rows::visible::{FOLLOWED, follow_each};
use crate::{Scale, records};

const CONNECTIONS: u32 = 64;
/// With [`FOLLOWED`] they are a thousand events a second.
const RATE: u32 = 750;
/// The campaigns of the events that a separate client posts, and whose reports it polls; no other event is of one.
const PROBED: usize = 500;
const FIRST_PROBED: usize = FIRST_OF_MANY + LEASED;

pub(super) fn measure(site: &Site<'_>, api: &Api, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let worker = site.worker(&[])?;
    let bed = site.bed;
    records::Bare::new(site)?.fill((0..LEASED).map(|n| records::event(n, LEASED, "shown")), None)?;
    site.until_caught_up(Duration::from_secs(120))?;
    let ads = &site.scope;
    devstack::until_caught_up(&ads.endpoints.kafka_brokers, &ads.ads_topic, &ads.ads_group, Duration::from_secs(300))?;
    let file = |name: &str, path: fn(usize) -> String| {
        let paths: Vec<String> = (0..LEASED).map(path).collect();
        bed.runtime.block_on(warm(&api.url, &bed.token, &paths))?;
        records::lines(&bed.folder, name, paths.into_iter())
    };
    let reports = file("ads-reports", |n| format!("/report/campaign/{}", FIRST_OF_MANY + n))?;
    let resources = file("ads-resources", |n| format!("/resource/{}", records::device(n)))?;
    let load = |lines| Load::reads(&api.url, lines, &bed.token, CONNECTIONS);
    let [report, resource] = take_turns(scale.rounds, ["report", "resource"], |turn| {
        load(if turn == 0 { &reports } else { &resources }).saturate(scale.turn())
    })?;
    let hits = Figure::new("GET /report/campaign/{id}, hit", "requests/s", report)
        .against(vec![("GET /resource/{id}, hit", resource)], 0.95);
    let soon = soon(site, api, scale)?;
    bed::end(&worker)?;
    Ok(vec![hits, soon])
}

fn soon(site: &Site<'_>, api: &Api, scale: &Scale) -> anyhow::Result<Figure> {
    let bed = site.bed;
    let time = long_enough(3 * scale.turn(), FOLLOWED);
    let lines = (0..LEASED * 10).map(|n| impression(FIRST_OF_MANY + n % LEASED, n % USERS));
    let lines = records::lines(&bed.folder, "ads-soon", lines)?;
    let load = || Load::posts(&api.url, "/ad-events", &lines, &bed.token, 64).at_rate(RATE, time);
    load()?;
    let (posted, probed) = std::thread::scope(|threads| {
        let probing = threads.spawn(|| bed.runtime.block_on(probe(&api.url, &bed.token, time)));
        (load(), probing.join())
    });
    let probed = Latency::of(probed.map_err(|_| anyhow::anyhow!("the probe panicked"))??);
    Ok(Figure {
        bound: Some(Bound::Below(50.0)),
        latencies: vec![
            (format!("the 202 to a report that has it, of {FOLLOWED} events/s beside {RATE}/s"), probed),
            (format!("POST /ad-events at {RATE} requests/s (open loop, corrected)"), posted?.latency),
        ],
        ..Figure::new("accepted to report, p99", "ms", Series::once(probed.p99))
    })
}

async fn probe(url: &str, token: &str, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let client = reqwest::Client::new();
    follow_each(time, |number| {
        let (client, url, token) = (client.clone(), url.to_owned(), token.to_owned());
        async move { follow(&client, &url, &token, number - 1).await }
    })
    .await
}

async fn follow(client: &reqwest::Client, url: &str, token: &str, number: usize) -> anyhow::Result<Duration> {
    let campaign = FIRST_PROBED + number % PROBED;
    let post = client.post(format!("{url}/ad-events")).bearer_auth(token).header("content-type", "application/json");
    post.body(impression(campaign, number)).send().await?.error_for_status()?;
    let accepted = Instant::now();
    // The events of a campaign are two seconds apart.
    let expected = number / PROBED + 1;
    loop {
        let answer = client.get(format!("{url}/report/campaign/{campaign}")).bearer_auth(token).send().await?;
        let report: serde_json::Value = answer.error_for_status()?.json().await?;
        let shown = report.get("impressions").and_then(serde_json::Value::as_u64).context("a report")?;
        if shown >= u64::try_from(expected)? {
            return Ok(accepted.elapsed());
        }
        ensure!(accepted.elapsed() < Duration::from_secs(10), "event {number} is in no report");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads every path until all are hits.
async fn warm(url: &str, token: &str, paths: &[String]) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    for _ in 0..5 {
        let mut misses = 0;
        for path in paths {
            let answer = client.get(format!("{url}{path}")).bearer_auth(token).send().await?.error_for_status()?;
            misses += usize::from(answer.headers().get("cache-status").is_none_or(|s| s != "resource-cache; hit"));
        }
        if misses == 0 {
            return Ok(());
        }
    }
    bail!("not all reads of {} are hits", paths.first().context("no paths")?)
}
