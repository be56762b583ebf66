//! Reads what decides about a batch.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::{Date, Duration, OffsetDateTime};

use super::super::ledger::{Campaign, Day, Lease, Ledger, UserDay};
use super::super::terms_row::read_rules;
use super::{Id, Stored};
use crate::ads::AdDelivery;
use crate::runtime::sabotage::makes;
use crate::store::{Failure, Tx, column};

/// When the batch's users were erased: one index lookup, usually in an empty table.
pub(super) async fn forgotten(
    tx: &mut Tx<'_>,
    batch: &[&AdDelivery],
) -> Result<HashMap<String, OffsetDateTime>, Failure> {
    let users: BTreeSet<&str> = batch.iter().map(|event| event.event.user.as_str()).collect();
    let query = sqlx::query_as("SELECT user_id, forgotten_at FROM ad_forgotten_users WHERE user_id = ANY($1)");
    let rows: Vec<(String, OffsetDateTime)> = query.bind(column!(users, |user| *user)).fetch_all(tx).await?;
    Ok(rows.into_iter().collect())
}

/// The events that were stored before, locked: a void one may be raised.
pub(super) async fn stored<'a>(tx: &mut Tx<'_>, asked: &[Id<'a>]) -> Result<HashMap<Id<'a>, Stored<'a>>, Failure> {
    let rows = sqlx::query(
        r#"SELECT campaign_id, event_id, user_id, type, day, accepted_at, topic, partition, "offset", outcome = 'void'
           FROM ad_events WHERE (campaign_id, event_id) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))
           ORDER BY campaign_id, event_id FOR UPDATE"#,
    )
    .bind(column!(asked, |(campaign, _)| *campaign))
    .bind(column!(asked, |(_, event)| *event))
    .fetch_all(tx)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert((row.try_get::<i64, _>(0)?, row.try_get::<&str, _>(1)?), row);
    }
    let mut stored = HashMap::with_capacity(rows.len());
    for id in asked {
        let Some(row) = found.get(id) else { continue };
        let event = Stored {
            user: row.try_get(2)?,
            type_name: row.try_get(3)?,
            day: row.try_get(4)?,
            accepted_at: row.try_get(5)?,
            position: (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?),
            is_void: row.try_get(9)?,
            new: None,
        };
        stored.insert(*id, event);
    }
    Ok(stored)
}

/// What the batch's users did in its campaigns. The locks of the campaigns are held: nobody else changes these rows.
pub(super) async fn users<'a>(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger<'a>,
    batch: &[(usize, &'a AdDelivery)],
) -> Result<(), Failure> {
    for (_, delivery) in batch {
        let event = &delivery.event;
        ledger.users.entry((event.campaign.get(), event.user.as_str())).or_default();
    }
    let keys: Vec<(i64, &str)> = ledger.users.keys().copied().collect();
    let rows = sqlx::query(
        "SELECT campaign_id, user_id, day, impressions, clicks, conversions, last_impression_at, last_click_at,
                minute, minute_events
         FROM ad_user_days JOIN unnest($1::bigint[], $2::text[]) AS asked (campaign_id, user_id)
              USING (campaign_id, user_id)",
    )
    .bind(column!(keys, |(campaign, _)| *campaign))
    .bind(column!(keys, |(_, user)| *user))
    .fetch_all(tx)
    .await?;
    let mut found: HashMap<(i64, &str), Vec<&PgRow>> = HashMap::with_capacity(keys.len());
    for row in &rows {
        found.entry((row.try_get(0)?, row.try_get(1)?)).or_default().push(row);
    }
    for (key, user) in &mut ledger.users {
        for row in found.get(key).into_iter().flatten() {
            let day = UserDay {
                is_stored: true,
                is_changed: false,
                events: [row.try_get(3)?, row.try_get(4)?, row.try_get(5)?],
                last_impression_at: row.try_get(6)?,
                last_click_at: row.try_get(7)?,
                minute: row.try_get(8)?,
                minute_events: row.try_get(9)?,
            };
            user.days.insert(row.try_get(2)?, day);
        }
    }
    Ok(())
}

/// The batch's campaigns, locked.
pub(super) async fn campaigns(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger<'_>,
    batch: &[(usize, &AdDelivery)],
) -> Result<(), Failure> {
    let ids: BTreeSet<i64> = batch.iter().map(|(_, delivery)| delivery.event.campaign.get()).collect();
    /// `$lock` is a text, so that the statement is one.
    macro_rules! read {
        ($lock:literal) => {
            concat!(
                "SELECT id, total_budget, spent, reserved, report_version, click_requires_impression,
                        duplicate_click_window, conversion_window, user_events_per_minute, blocked_user_agents
                 FROM campaigns WHERE id = ANY($1) ORDER BY id ",
                $lock
            )
        };
    }
    let rows = sqlx::query(if makes("unlocked-books") { read!("") } else { read!("FOR NO KEY UPDATE") });
    for row in rows.bind(column!(ids, |id| *id)).fetch_all(tx).await? {
        let campaign = Campaign {
            rules: read_rules(&row)?,
            total: row.try_get("total_budget")?,
            spent: row.try_get("spent")?,
            reserved: row.try_get("reserved")?,
            version: row.try_get("report_version")?,
            ..Campaign::default()
        };
        ledger.campaigns.insert(row.try_get("id")?, campaign);
    }
    // A probe's event is of campaign 0, which never exists: it is void.
    match ids.iter().find(|id| **id > 0 && !ledger.campaigns.contains_key(id)) {
        // Campaigns are never deleted: the database is older than the event, and may have it again later.
        Some(missing) => Err(Failure::failed(format!("there is no campaign {missing}"))),
        None => Ok(()),
    }
}

/// The batch's leases, as far as they are open. The locks of their campaigns are held.
pub(super) async fn leases<'a>(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger<'a>,
    batch: &[(usize, &'a AdDelivery)],
) -> Result<(), Failure> {
    let ids: HashSet<&'a str> = batch.iter().filter_map(|(_, delivery)| delivery.event.lease.as_deref()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let query = sqlx::query("SELECT id, campaign_id, day, amount, settled FROM ad_leases WHERE id = ANY($1)");
    let rows = query.bind(column!(ids, |id| *id)).fetch_all(tx).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(row.try_get::<&str, _>(0)?, row);
    }
    for id in ids {
        let Some(row) = found.get(id) else { continue };
        let lease = Lease {
            campaign: row.try_get(1)?,
            day: row.try_get(2)?,
            amount: row.try_get(3)?,
            settled: row.try_get(4)?,
        };
        ledger.leases.insert(id, lease);
    }
    Ok(())
}

/// The days of the batch's events. A day without a row gets one.
pub(super) async fn days(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger<'_>,
    batch: &[(usize, &AdDelivery)],
) -> Result<(), Failure> {
    let asked: BTreeSet<(i64, Date)> =
        batch.iter().map(|(_, delivery)| (delivery.event.campaign.get(), delivery.event.day)).collect();
    let mut is_second = false;
    loop {
        let query = sqlx::query(
            "SELECT campaign_id, day, budget, cap, spent, reserved FROM campaign_days
             JOIN unnest($1::bigint[], $2::date[]) AS asked (campaign_id, day) USING (campaign_id, day)",
        );
        let query = query.bind(column!(asked, |(campaign, _)| *campaign)).bind(column!(asked, |(_, day)| *day));
        for row in query.fetch_all(&mut *tx).await? {
            let day = Day {
                budget: row.try_get(2)?,
                cap: row.try_get(3)?,
                spent: row.try_get(4)?,
                reserved: row.try_get(5)?,
            };
            ledger.days.insert((row.try_get(0)?, row.try_get(1)?), day);
        }
        let missing: Vec<(i64, Date)> = asked.iter().filter(|day| !ledger.days.contains_key(day)).copied().collect();
        if missing.is_empty() || is_second {
            return Ok(());
        }
        let query = sqlx::query(
            "INSERT INTO campaign_days (campaign_id, day, budget, cap)
             SELECT id, missing.day, daily_budget, cap FROM unnest($1::bigint[], $2::date[]) AS missing (id, day)
             JOIN campaigns USING (id) ON CONFLICT DO NOTHING",
        );
        let query = query.bind(column!(missing, |(campaign, _)| *campaign)).bind(column!(missing, |(_, day)| *day));
        query.execute(&mut *tx).await?;
        is_second = true;
    }
}

/// The hours of the batch's events in their campaigns' time zones. The offset of a time zone changes at most each
/// quarter of an hour, so one question answers for many events.
pub(super) struct Hours(HashMap<(i64, OffsetDateTime), (Date, i16)>);

pub(super) fn quarter(at: OffsetDateTime) -> OffsetDateTime {
    let into = Duration::minutes(i64::from(at.minute() % 15)) + Duration::seconds(at.second().into());
    at - into - Duration::nanoseconds(at.nanosecond().into())
}

impl Hours {
    /// The hour of an event in its day: one that was accepted around midnight may belong to the day beside.
    pub(super) fn of(&self, campaign: i64, day: Date, at: OffsetDateTime) -> i16 {
        match self.0.get(&(campaign, quarter(at))) {
            Some((date, _)) if *date > day => 23,
            Some((date, hour)) if *date == day => *hour,
            _ => 0,
        }
    }
}

pub(super) async fn hours(
    tx: &mut Tx<'_>,
    batch: &[(usize, &AdDelivery)],
    stored: &HashMap<Id<'_>, Stored<'_>>,
) -> Result<Hours, Failure> {
    let of_batch = batch.iter().map(|(_, event)| (event.event.campaign.get(), quarter(event.envelope.accepted_at)));
    let of_void = stored.iter().filter(|(_, row)| row.is_void).map(|((id, _), row)| (*id, quarter(row.accepted_at)));
    let asked: BTreeSet<(i64, OffsetDateTime)> = of_batch.chain(of_void).collect();
    let query = sqlx::query_as(
        "SELECT id, at, (at AT TIME ZONE timezone)::date, extract(hour FROM at AT TIME ZONE timezone)::smallint
         FROM unnest($1::bigint[], $2::timestamptz[]) AS asked (id, at) JOIN campaigns USING (id)",
    );
    let query = query.bind(column!(asked, |(id, _)| *id)).bind(column!(asked, |(_, at)| *at));
    let rows: Vec<(i64, OffsetDateTime, Date, i16)> = query.fetch_all(tx).await?;
    Ok(Hours(rows.into_iter().map(|(id, at, date, hour)| ((id, at), (date, hour))).collect()))
}
