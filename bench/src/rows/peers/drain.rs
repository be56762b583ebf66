//! The worker, the worker in Python and Debezium's JDBC sink on one preloaded topic, each with a database and a group
//! of its own.

use std::time::Duration;

use super::connect::Connect;
use super::install::Installed;
use super::python::Python;
use super::score::{Round, Score};
use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::records::{self, Bare};
use crate::report::{Figure, as_f64};
use crate::rows::{take_turns, worker};
use crate::usage::{Meter, Usage};

const DEVICES: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(300);
/// How many times as fast as the sink.
const FLOOR: f64 = 3.0;

pub(super) fn measure(bed: &TestBed, scale: &Scale, installed: &Installed) -> anyhow::Result<Figure> {
    let (site, theirs) = (Site::new(bed, "peers_worker")?, Site::new(bed, "peers_others")?);
    let topic = &site.scope.input_topic;
    let (bare, connect) = (Bare::new(&site)?, Connect::start(installed, &theirs, topic)?);
    let events = scale.worker_events;
    let mut rounds = [0; 3];
    let mut filled = 0;
    let mut scores = [Score::new("ours"), Score::new("Python"), Score::new("Debezium, state only")];
    // At most three rounds: each takes longer than in other rows.
    let [ours, python, sink] = take_turns(scale.rounds.min(3), ["worker", "python", "debezium"], |turn| {
        let round = rounds.get_mut(turn).map_or(0, |round: &mut u32| {
            *round += 1;
            *round
        });
        let tag = format!("peers{round}");
        // The first of a round fills the topic for all three.
        if round > filled {
            bare.fill((0..events).map(|n| records::event(n, DEVICES, &tag)), None)?;
            filled = round;
        }
        let (rate, used) = match turn {
            0 => of_service(worker::drain_filled(&site, &[], events, &tag)?),
            1 => in_python(installed, &theirs, topic, events, &tag)?,
            _ => {
                let meter = connect.meter();
                let rate = connect.drain(events, DEVICES, &tag)?;
                let used = vec![meter.read()];
                connect.stand_still()?;
                (rate, used)
            }
        };
        if let Some(score) = scores.get_mut(turn) {
            score.add(Round::new(rate, None, as_f64(events), &used));
        }
        Ok(rate)
    })?;
    let mut notes = Score::table("events/s", &scores);
    notes.push(format!("{events} events a round, {DEVICES} devices, fresh ids, the same topic for all"));
    let row = Figure { notes, ..Figure::new("worker beside peers, topic preloaded", "events/s", ours) };
    let peers = vec![("Debezium's JDBC sink: states, no history", sink), ("the same worker in Python", python)];
    Ok(row.against(peers, FLOOR))
}

/// Without the servers, which are the same for all.
fn of_service((rate, used): (f64, Vec<Usage>)) -> (f64, Vec<Usage>) {
    (rate, used.into_iter().filter(|usage| usage.name == "worker-service").collect())
}

fn in_python(
    installed: &Installed,
    site: &Site<'_>,
    topic: &str,
    events: usize,
    tag: &str,
) -> anyhow::Result<(f64, Vec<Usage>)> {
    site.sql("CHECKPOINT")?;
    let python = Python::worker(installed, site, &[("KAFKA_INPUT_TOPIC", topic)])?;
    let meters = python.meters();
    devstack::until_caught_up(&site.scope.endpoints.kafka_brokers, topic, &site.scope.group, TIMEOUT)?;
    let used = meters.iter().map(Meter::read).collect();
    python.end()?;
    Ok((worker::rate(site, tag, events)?, used))
}
