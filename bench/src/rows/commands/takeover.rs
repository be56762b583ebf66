//! How soon another relay publishes when one has died, and how often one that has nothing to do asks.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use devstack::asked;

use super::RELAY;
use crate::bed::{self, Site};
use crate::report::{Bound, Figure};
use crate::rounds::Series;

const TIMES: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(20);
/// An idle process of PostgreSQL tells what it has counted after ten seconds.
const TOLD: Duration = Duration::from_secs(11);
const IDLE: Duration = Duration::from_secs(30);

pub(super) fn measure(site: &Site<'_>) -> anyhow::Result<Vec<Figure>> {
    let mut relays = vec![site.worker(&[RELAY])?, site.worker(&[RELAY])?];
    let mut took = Series::default();
    for time in 0..TIMES {
        publish(site, &format!("before-{time}"))?;
        let holder = holder(site)?;
        let at = relays.iter().position(|relay| relay.pid() == holder).context("none of these is the relay")?;
        let (relay, killed) = (relays.remove(at), Instant::now());
        relay.kill()?;
        publish(site, &format!("after-{time}"))?;
        took.push(killed.elapsed().as_secs_f64());
        relays.push(site.worker(&[RELAY])?);
    }
    let holder = holder(site)?;
    for other in relays.iter().filter(|relay| relay.pid() != holder) {
        bed::end(other)?;
    }
    let idle = idle(site)?;
    for relay in relays.iter().filter(|relay| relay.pid() == holder) {
        bed::end(relay)?;
    }
    Ok(vec![
        Figure {
            bound: Some(Bound::Below(15.0)),
            notes: vec!["from kill -9 of the relay to the first event that another one has published".to_owned()],
            ..Figure::new("relay, takeover", "s", took)
        },
        Figure {
            bound: Some(Bound::Below(1.3)),
            notes: vec![format!(
                "how often the outbox was looked at, in {IDLE:?}: 0.2 a second by the gauge of its rows"
            )],
            ..Figure::new("relay, idle", "queries/s", Series::once(idle))
        },
    ])
}

/// The process that is the relay.
fn holder(site: &Site<'_>) -> anyhow::Result<u32> {
    let holder = site.sql("SELECT coalesce(holder, '') FROM outbox_relay")?;
    // The host, the process and something random.
    holder.rsplit(':').nth(1).and_then(|pid| pid.parse().ok()).with_context(|| format!("the relay is {holder:?}"))
}

/// Writes an event, and waits until it is published.
fn publish(site: &Site<'_>, aggregate: &str) -> anyhow::Result<()> {
    site.sql(&format!(
        "INSERT INTO outbox (event_id, aggregate, sequence, type, attributes, data)
         VALUES (gen_random_uuid(), '{aggregate}', 1, 'com.nedlia.video.updated', '{{\"source\": \"/bench\"}}', '{{}}')"
    ))?;
    let is_empty = || Ok((site.sql("SELECT EXISTS (SELECT FROM outbox)")? == "f").then_some(()));
    asked(TIMEOUT, EVERY, is_empty)?.context("nobody publishes it")
}

/// How often a second the relay looks at the outbox.
fn idle(site: &Site<'_>) -> anyhow::Result<f64> {
    let looked = || -> anyhow::Result<(Instant, f64)> {
        let [looked] =
            site.numbers("SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'outbox'")?;
        Ok((Instant::now(), looked))
    };
    std::thread::sleep(TOLD);
    let (from, before) = looked()?;
    std::thread::sleep(IDLE);
    let (to, after) = looked()?;
    Ok((after - before) / (to - from).as_secs_f64())
}
