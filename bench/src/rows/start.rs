//! From the start of a process to its first `/health/ready` with 200, with the servers up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use devstack::{Program, port};
use reqwest::Client;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::bed::{self, Site, TestBed};
use crate::report::{Bound, Figure};
use crate::rows::take_turns;

/// Starts in each of the rounds.
const STARTS: u32 = 5;
const LIMIT: f64 = 100.0;
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "start")?;
    let turns = take_turns(STARTS * scale.rounds, ["api-service", "worker-service"], |turn| match turn {
        0 => start(&site, Program::Api, &[]),
        _ => start(&site, Program::Worker, &["run"]),
    })?;
    let rows = ["api-service", "worker-service"].into_iter().zip(turns);
    Ok(rows
        .map(|(name, took)| Figure::new(format!("start of {name}"), "ms", took).bound(Bound::Below(LIMIT)))
        .collect())
}

/// The milliseconds until the service is ready.
fn start(site: &Site<'_>, program: Program, args: &[&str]) -> anyhow::Result<f64> {
    let [public, ops] = [port::free(), port::free()].map(|port| format!("127.0.0.1:{port}"));
    let settings = [("API_BIND", public.as_str()), ("OPS_BIND", &ops)];
    let client = Client::builder().no_proxy().build()?;
    let began = Instant::now();
    let service = site.spawn(program, args, &settings)?;
    let ready = until_ready(&site.bed.runtime, &client, &format!("http://{ops}/health/ready"), began + TIMEOUT);
    let took = ready.with_context(|| service.log())?.duration_since(began);
    // A worker leaves its groups, so that the next one need not wait for it. An API would wait for its load balancer, and
    // is killed.
    if program == Program::Worker {
        bed::end(&service)?;
    }
    Ok(took.as_secs_f64() * 1e3)
}

/// Asks each millisecond, so that the figure is at most this much too high.
fn until_ready(runtime: &Runtime, client: &Client, url: &str, deadline: Instant) -> anyhow::Result<Instant> {
    loop {
        let answer = runtime.block_on(client.get(url).send());
        let answered = Instant::now();
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(answered);
        }
        ensure!(answered < deadline, "{url} is not ready after {TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
