//! The worker on preloaded topics: ad events against events of devices.

use std::time::Duration;

use shared::ads::{AdData, AdEvent, AdEventType, Nanos};
use shared::kafka::Outgoing;
use time::OffsetDateTime;

use crate::Scale;
use crate::bed::{self, Site};
use crate::records::{self, Bare};
use crate::report::Figure;
use crate::rows::{take_turns, worker};

const CAMPAIGNS: usize = 100;
const USERS: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(300);
/// One impression, in nanos.
const COST: i64 = 10_000_000;

pub(super) fn measure(site: &Site<'_>, scale: &Scale) -> anyhow::Result<Figure> {
    let devices = Bare::new(site)?;
    let ads = Bare::to(site, &site.scope.ads_topic)?;
    let (events, mut turns) = (scale.worker_events, 0);
    let [figure, ceiling] = take_turns(scale.rounds.min(4), ["ads", "devices"], |turn| {
        turns += 1;
        let tag = format!("ads{turns}");
        if turn == 1 {
            devices.fill((0..events).map(|n| records::event(n, USERS, &tag)), None)?;
            return Ok(worker::drain_filled(site, &[("WORKER_ONLY", "devices")], events, &tag)?.0);
        }
        lease(site, &tag, events)?;
        ads.fill((0..events).map(|n| event(n, &tag)), None)?;
        site.sql("CHECKPOINT")?;
        let worker = site.worker(&[("WORKER_ONLY", "ads")])?;
        let scope = &site.scope;
        devstack::until_caught_up(&scope.endpoints.kafka_brokers, &scope.ads_topic, &scope.ads_group, TIMEOUT)?;
        bed::end(&worker)?;
        worker::rate_in(site, "ad_events", &tag, events)
    })?;
    let row = Figure {
        notes: vec![format!("{events} events a round, {CAMPAIGNS} campaigns, {USERS} users, fresh ids, open leases")],
        ..Figure::new("worker, ads preloaded", "events/s", figure)
    };
    Ok(row.against(vec![("the worker on events of devices", ceiling)], 0.9))
}

/// A lease for each campaign's events of a round.
fn lease(site: &Site<'_>, tag: &str, events: usize) -> anyhow::Result<()> {
    let amount = i64::try_from(events / CAMPAIGNS + 1)? * COST;
    site.sql(&format!(
        "WITH days AS (
           INSERT INTO campaign_days AS d (campaign_id, day, reserved)
           SELECT id, now()::date, {amount} FROM campaigns WHERE id <= {CAMPAIGNS}
           ON CONFLICT (campaign_id, day) DO UPDATE SET reserved = d.reserved + excluded.reserved
         ), leases AS (
           INSERT INTO ad_leases (id, campaign_id, day, instance, amount, expires_at)
           SELECT '{tag}-' || id, id, now()::date, 'bench', {amount}, now() + interval '1h'
           FROM campaigns WHERE id <= {CAMPAIGNS}
         )
         UPDATE campaigns SET reserved = reserved + {amount}, total_budget = 999999999000000000
         WHERE id <= {CAMPAIGNS}"
    ))?;
    Ok(())
}

fn event(number: usize, tag: &str) -> anyhow::Result<Outgoing> {
    let now = OffsetDateTime::now_utc();
    let campaign = number % CAMPAIGNS + 1;
    let event = AdEvent {
        campaign: i64::try_from(campaign)?.try_into()?,
        user: format!("user-{:06}", number % USERS).parse()?,
        event_type: AdEventType::Impression,
        lease: Some(format!("{tag}-{campaign}")),
        day: now.date(),
        cost: Nanos::new(COST),
        data: AdData::default(),
    };
    let mut outgoing = event.outgoing(format!("{tag}-{number}").parse()?, now, now);
    outgoing.envelope.request_id = Some(tag.to_owned());
    outgoing.envelope.user_id = Some("bench".to_owned());
    Ok(outgoing)
}
