//! The services beside what a user would take instead (`bench/peers`): the same system in Python, and Kafka Connect with
//! Debezium's JDBC sink. Each is installed by the row itself.

mod agree;
mod connect;
mod drain;
mod install;
mod python;
mod score;

use std::time::Duration;

use self::install::Installed;
use self::python::Python;
use self::score::{Round, Score};
use crate::bed::{self, Api, Site, TestBed};
use crate::load::Load;
use crate::report::Figure;
use crate::rows::{read, take_turns};
use crate::usage::Meter;
use crate::{Scale, records};

const CONNECTIONS: [u32; 2] = [64, 256];
const DEVICES: usize = 1_000;
/// How many times as fast as the peer in Python.
const FLOOR: f64 = 5.0;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let installed = install::all(&bed.folder)?;
    let mut rows = posts(bed, scale, &installed)?;
    rows.extend(reads(bed, scale, &installed)?);
    rows.push(drain::measure(bed, scale, &installed)?);
    Ok(rows)
}

fn posts(bed: &TestBed, scale: &Scale, installed: &Installed) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "peers")?;
    let (api, python) = (site.api(&[])?, Python::api(installed, &site)?);
    agree::posts(&site, &api.url, &python.url)?;
    let lines = records::lines(&bed.folder, "peers", (0..DEVICES).map(|n| records::body(n, 100)))?;
    let load = |base, connections| Load::posts(base, "/events", &lines, &bed.token, connections);
    beside(scale, "POST /events", &api, &python, load)
}

fn reads(bed: &TestBed, scale: &Scale, installed: &Installed) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "peers_read")?;
    let worker = site.worker(&[])?;
    records::Bare::new(&site)?.fill((0..DEVICES).map(|n| records::event(n, DEVICES, "read")), None)?;
    site.until_caught_up(Duration::from_secs(60))?;
    bed::end(&worker)?;

    let (api, python) = (site.api(&[])?, Python::api(installed, &site)?);
    bed.runtime.block_on(read::warm(&api.url, &bed.token))?;
    agree::reads(bed, &api.url, &python.url)?;
    let paths = (0..DEVICES).map(|n| format!("/resource/{}", records::device(n)));
    let lines = records::lines(&bed.folder, "peers_read", paths)?;
    let load =
        |base, connections| Load { base, path: "/", lines: &lines, content_type: None, token: &bed.token, connections };
    beside(scale, "GET /resource/{id}, hit", &api, &python, load)
}

/// Both under the same saturating load, in turns; a figure for each number of connections.
fn beside<'a>(
    scale: &Scale,
    name: &str,
    api: &'a Api,
    python: &'a Python,
    load: impl Fn(&'a str, u32) -> Load<'a>,
) -> anyhow::Result<Vec<Figure>> {
    let of = |connections| {
        let mut scores = [Score::new("ours"), Score::new("Python")];
        let [ours, peer] = take_turns(scale.rounds, ["ours", "python"], |turn| {
            let of_peer = turn == 1;
            let meters = if of_peer { python.meters() } else { vec![bed::meter(&api.service)] };
            let url = if of_peer { &python.url } else { &api.url };
            let outcome = load(url, connections).saturate(scale.turn())?;
            let used: Vec<_> = meters.iter().map(Meter::read).collect();
            let events = outcome.rate * scale.turn().as_secs_f64();
            if let Some(score) = scores.get_mut(turn) {
                score.add(Round::new(outcome.rate, Some(outcome.latency), events, &used));
            }
            Ok(outcome.rate)
        })?;
        let figure = Figure {
            notes: Score::table("requests/s", &scores),
            ..Figure::new(format!("{name}, {connections} connections"), "requests/s", ours)
        };
        Ok(figure.against(vec![("the same system in Python", peer)], FLOOR))
    };
    CONNECTIONS.into_iter().map(of).collect()
}
