//! Advertising: each figure beside the same of devices, in the same run.

mod apply;
mod shown;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::bed::{Api, Site, TestBed};
use crate::load::Load;
use crate::report::Figure;
use crate::rounds::Series;
use crate::rows::take_turns;
use crate::{Scale, records};

const CONNECTIONS: u32 = 256;
const USERS: usize = 1_000;
const MANY: usize = 10_000;
/// The users of the campaign with a cap. There are so many that each has fewer than ten impressions in the row: caps are
/// that small.
const CAPPED_USERS: usize = 100_000;
/// The campaigns for the rate of lease transactions.
const LEASED: usize = 1_000;

/// The first id of each group of campaigns.
const HOT: usize = 1;
const CAPPED: usize = 2;
const SPENT: usize = 3;
const FIRST_OF_MANY: usize = 4;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "ads")?;
    let api = site.api(&[])?;
    // The API has to know its Redis before there is a campaign with a cap, or the caps have to be proven by a worker.
    until_known(&site)?;
    make(&site, 1, "NULL", 999_999_999)?;
    make(&site, 1, "1000000", 999_999_999)?;
    make(&site, 1, "NULL", 0)?;
    make(&site, MANY, "NULL", 999_999_999)?;
    let mut rows = posts(&site, &api, scale)?;
    rows.push(leases(&site, &api, scale)?);
    rows.extend(shown::measure(&site, &api, scale)?);
    drop(api);
    rows.push(apply::measure(&site, scale)?);
    Ok(rows)
}

fn until_known(site: &Site<'_>) -> anyhow::Result<()> {
    let known = || Ok((site.sql("SELECT count(*) FROM redis_incarnations")? != "0").then_some(()));
    devstack::asked(Duration::from_secs(30), Duration::from_millis(100), known)?.context("no Redis was noted")
}

/// Makes campaigns at 10 for a thousand impressions, with this total budget; one of 0 is spent from the beginning.
fn make(site: &Site<'_>, count: usize, cap: &str, total: u64) -> anyhow::Result<()> {
    site.sql(&format!(
        "INSERT INTO campaigns (name, pricing_model, unit_price, currency, total_budget, cap, timezone, status, pacing,
           on_exhausted, cap_unsure, click_requires_impression, blocked_user_agents)
         SELECT 'bench', 'cpm', 10000000000, 'USD', {total} * 1000000000::bigint, {cap}, 'UTC', 'active', 'asap',
           'refuse', 'refuse', false, '{{}}' FROM generate_series(1, {count})"
    ))?;
    Ok(())
}

fn impression(campaign: usize, user: usize) -> String {
    format!(r#"{{"campaign_id":{campaign},"user_id":"user-{user:06}","event_type":"impression"}}"#)
}

/// Posts of ad events, in turns with those of devices.
fn posts(site: &Site<'_>, api: &Api, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let folder = &site.bed.folder;
    // Each line has a user of its own.
    let file = |name: &str, users, campaign: fn(usize) -> usize| {
        records::lines(folder, name, (0..users).map(|n| impression(campaign(n), n)))
    };
    let files: [PathBuf; 4] = [
        file("ads-hot", MANY, |_| HOT)?,
        file("ads-capped", CAPPED_USERS, |_| CAPPED)?,
        file("ads-many", MANY, |n| FIRST_OF_MANY + n)?,
        file("ads-spent", MANY, |_| SPENT)?,
    ];
    let devices = records::lines(folder, "ads-devices", (0..USERS).map(|n| records::body(n, 100)))?;
    let load = |path, lines| Load::posts(&api.url, path, lines, &site.bed.token, CONNECTIONS);
    let names = ["POST /events", "one campaign", "capped", "10,000 campaigns", "409"];
    let [events, hot, capped, many, spent] = take_turns(scale.rounds, names, |turn| {
        let Some(file) = turn.checked_sub(1) else { return load("/events", &devices).saturate(scale.turn()) };
        let load = load("/ad-events", files.get(file).context("a file for each turn")?);
        if file == 3 { load.refused(scale.turn()) } else { load.saturate(scale.turn()) }
    })?;
    let beside = |name: &str, figure: Series, floor| {
        Figure::new(name, "requests/s", figure).against(vec![("POST /events", events.clone())], floor)
    };
    Ok(vec![
        beside("ads, uncapped", hot.clone(), 0.90),
        beside("ads, capped", capped, 0.80),
        beside("ads, 409 from memory", spent, 1.3),
        Figure::new("ads, one campaign", "requests/s", hot).against(vec![("10,000 campaigns", many)], 0.95),
    ])
}

/// The transactions a second that lease money for many campaigns.
fn leases(site: &Site<'_>, api: &Api, scale: &Scale) -> anyhow::Result<Figure> {
    let lines = (0..MANY).map(|n| impression(FIRST_OF_MANY + n % LEASED, n % USERS));
    let lines = records::lines(&site.bed.folder, "ads-leased", lines)?;
    let grants = || api.metric(&site.bed.runtime, "ads_grants_total");
    let waits = || api.metric(&site.bed.runtime, "ads_lease_wait_seconds_count");
    let (mut rates, mut sent, waited) = (Series::default(), 0.0, waits()?);
    for _ in 0..scale.rounds {
        let before = grants()?;
        let load = Load::posts(&api.url, "/ad-events", &lines, &site.bed.token, CONNECTIONS);
        sent += load.saturate(scale.turn())?.rate * scale.turn().as_secs_f64();
        rates.push((grants()? - before) / scale.turn().as_secs_f64());
    }
    let waited = 100.0 * (waits()? - waited) / sent;
    Ok(Figure {
        // One each 100 ms at most, for all campaigns together. Events must not wait for that.
        bound: Some(crate::report::Bound::Below(10.5)),
        notes: vec![format!("{waited:.3} % of {sent:.0} events waited for one")],
        ..Figure::new("lease transactions, 1,000 campaigns", "a second", rates)
    })
}
