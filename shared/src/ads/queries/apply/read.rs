//! Reads what decides about a batch.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::Row as _;
use time::{Date, Duration, OffsetDateTime};

use super::super::ledger::{Campaign, Day, Lease, Ledger, User, UserDay};
use super::super::terms_row::read_rules;
use super::{Id, Stored};
use crate::ads::AdDelivery;
use crate::runtime::sabotage::makes;
use crate::store::{Failure, Tx, column};

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
            user: Cow::Owned(row.try_get(2)?),
            type_name: Cow::Owned(row.try_get(3)?),
            day: row.try_get(4)?,
            accepted_at: row.try_get(5)?,
            position: (Cow::Owned(row.try_get(6)?), row.try_get(7)?, row.try_get(8)?),
            is_void: row.try_get(9)?,
            new: None,
        };
        stored.insert(*id, event);
    }
    Ok(stored)
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

/// What decides about a batch, in one round trip while the campaigns are locked: other workers wait meanwhile. Each row
/// has its kind, and the place of what was asked for among its kind.
const FACTS: &str = "
SELECT 'user' AS kind, place, campaign_id, day, impressions::bigint AS a, clicks::bigint AS b, conversions::bigint AS c,
       minute_events AS d, last_impression_at AS at_a, last_click_at AS at_b, minute AS at_c
FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS asked (campaign_id, user_id, place)
JOIN ad_user_days USING (campaign_id, user_id)
UNION ALL
SELECT 'lease', place, campaign_id, day, amount, settled, NULL, NULL, NULL, NULL, NULL
FROM unnest($3::text[]) WITH ORDINALITY AS asked (id, place) JOIN ad_leases USING (id)
UNION ALL
SELECT 'day', place, campaign_id, day, spent, reserved, budget, cap, NULL, NULL, NULL
FROM unnest($4::bigint[], $5::date[]) WITH ORDINALITY AS asked (campaign_id, day, place)
JOIN campaign_days USING (campaign_id, day)
UNION ALL
SELECT 'hour', place, id, (at AT TIME ZONE timezone)::date, NULL, NULL, NULL,
       extract(hour FROM at AT TIME ZONE timezone)::integer, NULL, NULL, NULL
FROM unnest($6::bigint[], $7::timestamptz[]) WITH ORDINALITY AS asked (id, at, place) JOIN campaigns USING (id)";

/// What the batch's users did in its campaigns, its leases as far as they are open, its days, and the hours of its
/// events. A day without a row gets one. The locks of the campaigns are held: nobody else changes any of it.
pub(super) async fn facts<'a>(
    tx: &mut Tx<'_>,
    ledger: &mut Ledger<'a>,
    batch: &[(usize, &'a AdDelivery)],
    stored: &HashMap<Id<'_>, Stored<'_>>,
) -> Result<Hours, Failure> {
    for (_, delivery) in batch {
        let event = &delivery.event;
        ledger.users.entry((event.campaign.get(), event.user.as_str())).or_default();
    }
    let keys: Vec<(i64, &str)> = ledger.users.keys().copied().collect();
    let leases: HashSet<&'a str> = batch.iter().filter_map(|(_, delivery)| delivery.event.lease.as_deref()).collect();
    let leases: Vec<&'a str> = leases.into_iter().collect();
    let days: BTreeSet<(i64, Date)> =
        batch.iter().map(|(_, delivery)| (delivery.event.campaign.get(), delivery.event.day)).collect();
    let of_batch = batch.iter().map(|(_, event)| (event.event.campaign.get(), quarter(event.envelope.accepted_at)));
    let of_void = stored.iter().filter(|(_, row)| row.is_void).map(|((id, _), row)| (*id, quarter(row.accepted_at)));
    let times: BTreeSet<(i64, OffsetDateTime)> = of_batch.chain(of_void).collect();
    let times: Vec<(i64, OffsetDateTime)> = times.into_iter().collect();
    let mut hours = HashMap::with_capacity(times.len());
    for is_second in [false, true] {
        let rows = sqlx::query(FACTS)
            .bind(column!(keys, |(campaign, _)| *campaign))
            .bind(column!(keys, |(_, user)| *user))
            .bind(&leases)
            .bind(column!(days, |(campaign, _)| *campaign))
            .bind(column!(days, |(_, day)| *day))
            .bind(column!(times, |(campaign, _)| *campaign))
            .bind(column!(times, |(_, at)| *at))
            .fetch_all(&mut *tx)
            .await?;
        let mut users: Vec<&mut User> = ledger.users.values_mut().collect();
        for row in &rows {
            // PostgreSQL counts from 1.
            let place = usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or_default().wrapping_sub(1);
            let (campaign, day) = (row.try_get(2)?, row.try_get(3)?);
            match row.try_get(0)? {
                "user" => {
                    let Some(user) = users.get_mut(place) else { continue };
                    let count =
                        |column| Ok::<_, Failure>(i32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(i32::MAX));
                    let seen = UserDay {
                        is_stored: true,
                        is_changed: false,
                        events: [count(4)?, count(5)?, count(6)?],
                        minute_events: row.try_get(7)?,
                        last_impression_at: row.try_get(8)?,
                        last_click_at: row.try_get(9)?,
                        minute: row.try_get(10)?,
                    };
                    user.days.insert(day, seen);
                }
                "lease" => {
                    // One of another campaign pays for none of these events, and its campaign is not locked.
                    let Some(id) = leases.get(place).filter(|_| ledger.campaigns.contains_key(&campaign)) else {
                        continue;
                    };
                    let lease = Lease { campaign, day, amount: row.try_get(4)?, settled: row.try_get(5)? };
                    ledger.leases.insert(id, lease);
                }
                "day" => {
                    let (spent, reserved) = (row.try_get(4)?, row.try_get(5)?);
                    let books = Day { spent, reserved, budget: row.try_get(6)?, cap: row.try_get(7)? };
                    ledger.days.insert((campaign, day), books);
                }
                _ => {
                    let Some(asked) = times.get(place) else { continue };
                    hours.insert(*asked, (day, row.try_get(7)?));
                }
            }
        }
        let missing: Vec<(i64, Date)> = days.iter().filter(|day| !ledger.days.contains_key(day)).copied().collect();
        if missing.is_empty() || is_second {
            break;
        }
        let query = sqlx::query(
            "INSERT INTO campaign_days (campaign_id, day, budget, cap)
             SELECT id, missing.day, daily_budget, cap FROM unnest($1::bigint[], $2::date[]) AS missing (id, day)
             JOIN campaigns USING (id) ON CONFLICT DO NOTHING",
        );
        let query = query.bind(column!(missing, |(campaign, _)| *campaign)).bind(column!(missing, |(_, day)| *day));
        query.execute(&mut *tx).await?;
    }
    Ok(Hours(hours))
}

/// The hours of the batch's events in their campaigns' time zones. The offset of a time zone changes at most each
/// quarter of an hour, so one question answers for many events.
pub(super) struct Hours(HashMap<(i64, OffsetDateTime), (Date, i32)>);

pub(super) fn quarter(at: OffsetDateTime) -> OffsetDateTime {
    let into = Duration::minutes(i64::from(at.minute() % 15)) + Duration::seconds(at.second().into());
    at - into - Duration::nanoseconds(at.nanosecond().into())
}

impl Hours {
    /// The hour of an event in its day: one that was accepted around midnight may belong to the day beside.
    pub(super) fn of(&self, campaign: i64, day: Date, at: OffsetDateTime) -> i32 {
        match self.0.get(&(campaign, quarter(at))) {
            Some((date, _)) if *date > day => 23,
            Some((date, hour)) if *date == day => *hour,
            _ => 0,
        }
    }
}
