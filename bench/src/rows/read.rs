//! `GET /resource/{id}`, hits, against axum with one GET on the same Redis.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::bed::{self, Bare, Bed, Site};
use crate::load::{Latency, Load};
use crate::report::Figure;
use crate::rows::{saturate, take_turns};
use crate::serve::Kind;
use crate::usage::Usage;
use crate::{Scale, records};

const CONNECTIONS: u32 = 64;
const DEVICES: usize = 1_000;
const RATE: u32 = 5_000;
/// The first fills, the second should hit.
const PASSES: usize = 5;

pub(crate) fn measure(bed: &Bed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "read")?;
    let worker = site.worker()?;
    records::Bare::new(&site)?.fill((0..DEVICES).map(|n| records::event(n, DEVICES, "read")), None)?;
    site.until_caught_up(Duration::from_secs(60))?;
    bed::end(&worker)?;

    let api = site.api(&[])?;
    let body = bed.runtime.block_on(warm(&api.url, &bed.token))?;
    let redis = bed.stack.redis.url();
    let one_get =
        Bare::start(Kind::Redis, &[("redis", &redis), ("prefix", &format!("{}resource:", site.scope.cache_prefix))])?;
    let bytes = Bare::start(Kind::Bytes, &[("answer", &body)])?;
    let lines = records::lines(&bed.folder, "read", (0..DEVICES).map(|n| format!("/resource/{}", records::device(n))))?;
    let load =
        |base| Load { base, path: "/", lines: &lines, content_type: None, token: &bed.token, connections: CONNECTIONS };
    let mut last: Option<(Latency, Vec<Usage>)> = None;
    let [figure, ceiling, bytes] = take_turns(
        scale.rounds,
        ["api", "axum + GET", "axum"],
        [
            &mut || {
                let (outcome, usages) = saturate(bed, &api, &load(&api.url), scale.turn())?;
                last = Some((outcome.latency, usages));
                Ok(outcome.rate)
            },
            &mut || Ok(load(&one_get.url).saturate(scale.turn())?.rate),
            &mut || Ok(load(&bytes.url).saturate(scale.turn())?.rate),
        ],
    )?;
    let open = load(&api.url).at_rate(RATE, scale.turn())?;
    println!("  at {RATE} a second: p99 {:.2} ms", open.latency.p99);
    let (saturated, usages) = last.unzip();
    let mut latencies: Vec<_> =
        saturated.map(|latency| ("saturated (closed loop)".to_owned(), latency)).into_iter().collect();
    latencies.push((format!("at {RATE} requests/s (open loop, corrected)"), open.latency));
    let row = Figure {
        name: "GET /resource/{id}, hit".into(),
        unit: "requests/s",
        figure,
        latencies,
        usages: usages.unwrap_or_default(),
        ..Figure::default()
    };
    let ceilings = vec![("axum with one GET on the same Redis", ceiling), ("bare axum with the same bytes", bytes)];
    Ok(vec![row.against(ceilings, 0.80)])
}

/// Reads every device, until all are hits; gives a body. A fill may be missed where the machine stalls
/// for longer than Redis is given, so there are a few passes.
async fn warm(url: &str, token: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::new();
    let mut body = None;
    for pass in 0..PASSES {
        let mut missed = None;
        for n in 0..DEVICES {
            let request = client.get(format!("{url}/resource/{}", records::device(n))).bearer_auth(token);
            let answer = request.send().await?.error_for_status()?;
            let status = answer.headers().get("cache-status").cloned();
            if status.as_ref().is_none_or(|status| status != "resource-cache; hit") {
                missed = Some((n, status));
            }
            body = Some(answer.text().await?);
        }
        match missed {
            None => return body.context("no devices"),
            Some((n, status)) if pass > 0 => println!("  pass {pass}: a read of {n} was no hit, but {status:?}"),
            Some(_) => {}
        }
    }
    bail!("not all reads are hits after {PASSES} passes")
}
