//! What the log and the stores hold of advertising.

use std::collections::BTreeMap;

use anyhow::Context as _;
use devstack::psql;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{header, read, text};
use crate::history::ads::{AdKind, AdLetter, AdRecord, AdsEnd, Books, CachedReport, Change, Terms, nanos};
use crate::world::World;

/// A campaign's terms, from its row.
const TERMS: &str = "jsonb_build_object('pricing', c.pricing_model, 'price', c.unit_price, 'total', c.total_budget,
    'daily', c.daily_budget, 'cap', c.cap, 'status', c.status, 'allows', c.cap_unsure = 'allow',
    'records', c.on_exhausted = 'record', 'filters', c.click_requires_impression OR
    coalesce(c.duplicate_click_window, c.conversion_window, c.user_events_per_minute) IS NOT NULL OR
    cardinality(c.blocked_user_agents) > 0)";

/// Microseconds since 1970.
pub(super) fn micros(moment: &str) -> String {
    format!("(extract(epoch FROM {moment}) * 1000000)::bigint")
}

/// The rows of a query whose columns are a fact's members.
pub(super) fn rows<T: DeserializeOwned>(world: &World, query: &str) -> anyhow::Result<Vec<T>> {
    let text = psql(&world.scope.database_url, &format!("SELECT to_jsonb(t) FROM ({query}) t"))?;
    let row = |line: &str| serde_json::from_str(line).with_context(|| format!("the row {line}"));
    text.lines().map(row).collect()
}

/// The money of all campaigns, in one statement, and so at one moment.
pub fn books(world: &World) -> anyhow::Result<Vec<Books>> {
    let held = "coalesce((SELECT sum(l.amount - l.settled) FROM ad_leases l WHERE l.campaign_id = c.id";
    rows(
        world,
        &format!(
            "SELECT c.id AS campaign, {TERMS} AS terms, c.spent, c.reserved, {held}), 0)::bigint AS leased,
                    ((now() AT TIME ZONE c.timezone)::date)::text AS today,
                    (SELECT coalesce(jsonb_agg(jsonb_build_object('day', d.day, 'budget', d.budget, 'spent', d.spent,
                         'reserved', d.reserved, 'leased', {held} AND l.day = d.day), 0)::bigint)), '[]')
                     FROM campaign_days d WHERE d.campaign_id = c.id) AS days
             FROM campaigns c"
        ),
    )
}

/// Reads everything directly from the servers. `cached` has the bodies in the cache and in PostgreSQL.
pub(super) fn gather(
    world: &World,
    cached: Vec<CachedReport>,
    left: BTreeMap<i32, (i64, i64)>,
) -> anyhow::Result<AdsEnd> {
    let day_begins = micros("day AT TIME ZONE c.timezone");
    let days = format!(
        "(SELECT jsonb_agg(jsonb_build_object('day', day::date, 'begins', {day_begins}) ORDER BY day)
          FROM generate_series((c.created_at AT TIME ZONE c.timezone)::date::timestamp - interval '1 day',
                               (now() AT TIME ZONE c.timezone)::date::timestamp + interval '1 day', '1 day') day)"
    );
    let campaigns = format!(
        "SELECT c.id AS campaign, c.external_id, {TERMS} AS terms, c.spent, c.reserved, c.booked_out, c.impressions,
                c.clicks, c.conversions, c.value, c.void, c.users, {days} AS days FROM campaigns c"
    );
    let events = format!(
        "SELECT campaign_id AS campaign, event_id AS id, user_id AS user, type AS kind, day, cost, value, outcome,
                reason, {} AS accepted, partition, \"offset\" FROM ad_events",
        micros("accepted_at")
    );
    Ok(AdsEnd {
        campaigns: rows(world, &campaigns)?,
        changes: changes(world)?,
        days: rows(world, "SELECT campaign_id AS campaign, day, budget, spent, reserved FROM campaign_days")?,
        leases: rows(world, "SELECT id AS lease, campaign_id AS campaign, day, amount, settled FROM ad_leases")?,
        events: rows(world, &events)?,
        stats: rows(world, "SELECT campaign_id AS campaign, * FROM ad_stats")?,
        user_days: rows(world, "SELECT campaign_id AS campaign, user_id AS user, * FROM ad_user_days")?,
        invalid: rows(world, "SELECT campaign_id AS campaign, reason, events FROM ad_invalid")?,
        records: records(world)?,
        letters: letters(world)?,
        cached,
        left,
    })
}

#[derive(Deserialize)]
struct ChangeRow {
    campaign: i64,
    revision: i64,
    day: String,
    at: i64,
    terms: Value,
    spent: i64,
    reserved: i64,
}

fn changes(world: &World) -> anyhow::Result<Vec<Change>> {
    let query = format!(
        "SELECT h.campaign_id AS campaign, h.revision, (h.changed_at AT TIME ZONE c.timezone)::date AS day,
                {} AS at, h.terms, h.spent, h.reserved FROM campaign_changes h JOIN campaigns c ON c.id = h.campaign_id",
        micros("h.changed_at")
    );
    let change = |row: ChangeRow| {
        let ChangeRow { campaign, revision, day, at, terms, spent, reserved } = row;
        let terms = Terms::of_body(&terms).with_context(|| format!("no terms: {terms}"))?;
        Ok(Change { campaign, revision, day, at, terms, spent, reserved })
    };
    rows(world, &query)?.into_iter().map(change).collect()
}

fn records(world: &World) -> anyhow::Result<Vec<AdRecord>> {
    read(world, &world.scope.ads_topic, |message| {
        let key = text(message.key());
        let named = |name: &str| header(message, name).with_context(|| format!("a record of {key} without {name}"));
        let (campaign, user) = key.split_once(':').with_context(|| format!("a record with the key {key:?}"))?;
        let kind = named("ce_type")?;
        let kind = AdKind::ALL.into_iter().find(|known| kind.contains(&format!(".{}.", known.name())));
        Ok(AdRecord {
            campaign: campaign.parse()?,
            id: named("ce_id")?,
            user: user.to_owned(),
            kind: kind.context("a record of another type")?,
            partition: message.partition,
            offset: message.offset,
            lease: header(message, "ce_grantid"),
            day: named("ce_adday")?,
            cost: nanos(&Value::String(named("ce_cost")?)).context("a record without a cost")?,
        })
    })
}

fn letters(world: &World) -> anyhow::Result<Vec<AdLetter>> {
    read(world, &world.scope.ads_dlq_topic, |message| {
        Ok(AdLetter {
            key: text(message.key()),
            id: header(message, "ce_id").unwrap_or_default(),
            reason: header(message, "dlq.reason").unwrap_or_default(),
            error: header(message, "dlq.error").unwrap_or_default(),
        })
    })
}
