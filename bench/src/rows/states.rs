//! `POST /resources/query`, all hits: against axum with one MGET, and against single reads.

use crate::Scale;
use crate::bed::{Bare, Site, TestBed};
use crate::load::Load;
use crate::report::{Figure, as_f64};
use crate::rounds::Turn;
use crate::rows::read::{CONNECTIONS, DEVICES, cached, paths, redis};
use crate::rows::{saturate, take_turns};
use crate::serve::Kind;
use crate::{records, usage::Usage};

/// The states of one call: ten calls read all devices.
const STATES: usize = 100;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "states")?;
    let (api, _) = cached(&site)?;
    let bare = Bare::start(Kind::Many, &redis(&site).each_ref().map(|(name, value)| (*name, value.as_str())))?;
    let queries = (0..DEVICES / STATES).map(|query| {
        let ids: Vec<_> = (0..STATES).map(|n| format!(r#""{}""#, records::device(query * STATES + n))).collect();
        format!(r#"{{"ids":[{}]}}"#, ids.join(","))
    });
    let (queries, single) = (records::lines(&bed.folder, "states", queries)?, paths(bed)?);
    let many = |base| Load::posts(base, "/resources/query", &queries, &bed.token, CONNECTIONS);
    let mut last: Option<(_, Vec<Usage>)> = None;
    let [figure, ceiling, single] = take_turns(scale.rounds, ["api", "axum + MGET", "single reads"], |turn| {
        let outcome = match turn {
            0 => {
                let (outcome, usages) = saturate(bed, &api, &many(&api.url), scale.turn())?;
                last = Some((outcome.latency, usages));
                outcome
            }
            1 => many(&bare.url).saturate(scale.turn())?,
            _ => Load::reads(&api.url, &single, &bed.token, CONNECTIONS).saturate(scale.turn())?,
        };
        let states = if turn < 2 { as_f64(STATES) } else { 1.0 };
        Ok(Turn { figure: outcome.rate * states, load: Some(outcome.share) })
    })?;
    let (latency, usages) = last.unzip();
    let row = Figure {
        latencies: latency.map(|it| (format!("a call of {STATES}, saturated (closed loop)"), it)).into_iter().collect(),
        usages: usages.unwrap_or_default(),
        ..Figure::new("POST /resources/query, hits", "states/s", figure)
    };
    let ceilings = vec![("axum with one MGET on the same Redis", ceiling), ("single reads of the API", single)];
    Ok(vec![row.beside(ceilings)])
}
