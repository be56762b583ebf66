//! `GET /resource/{id}`, hits, against axum with one GET on the same Redis.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::bed::{self, Api, Bare, Site, TestBed};
use crate::load::Load;
use crate::report::Figure;
use crate::rows::beside;
use crate::serve::Kind;
use crate::{Scale, records};

pub(super) const CONNECTIONS: u32 = 64;
pub(super) const DEVICES: usize = 1_000;
const RATE: u32 = 5_000;
/// The first pass fills the cache, the second should only hit.
const PASSES: usize = 5;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "read")?;
    let (api, body) = cached(&site)?;
    let one_get = Bare::start(Kind::Redis, &redis(&site).each_ref().map(|(name, value)| (*name, value.as_str())))?;
    let bytes = Bare::start(Kind::Bytes, &[("answer", &body)])?;
    let lines = paths(bed)?;
    let load = |base| Load::reads(base, &lines, &bed.token, CONNECTIONS);
    let servers = [("api", api.url.as_str()), ("axum + GET", &one_get.url), ("axum", &bytes.url)];
    let (row, [_, ceiling, bytes]) = beside(bed, scale, "GET /resource/{id}, hit", &api, servers, load, RATE)?;
    let ceilings = vec![("axum with one GET on the same Redis", ceiling), ("bare axum with the same bytes", bytes)];
    Ok(vec![row.against(ceilings, 0.95).goal(1.10)])
}

/// The API with all devices in its cache, and the body of one.
pub(super) fn cached(site: &Site<'_>) -> anyhow::Result<(Api, String)> {
    let worker = site.worker(&[])?;
    records::Bare::new(site)?.fill((0..DEVICES).map(|n| records::event(n, DEVICES, "read")), None)?;
    site.until_caught_up(Duration::from_secs(60))?;
    bed::end(&worker)?;
    let api = site.api(&[])?;
    let body = site.bed.runtime.block_on(warm(&api.url, &site.bed.token))?;
    Ok((api, body))
}

/// Where a ceiling finds the same states.
pub(super) fn redis(site: &Site<'_>) -> [(&'static str, String); 2] {
    [("redis", site.bed.stack.redis.url()), ("prefix", format!("{}resource:", site.scope.cache_prefix))]
}

/// A file with the path of each device.
pub(super) fn paths(bed: &TestBed) -> anyhow::Result<PathBuf> {
    records::lines(&bed.folder, "read", (0..DEVICES).map(|n| format!("/resource/{}", records::device(n))))
}

/// Reads every device until all are hits; returns a body. A few passes, because a fill fails if the machine
/// stalls for longer than the timeout of Redis.
pub(super) async fn warm(url: &str, token: &str) -> anyhow::Result<String> {
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
