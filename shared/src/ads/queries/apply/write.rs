//! Writes a batch: the events, what their users did, and the books.

use std::collections::{HashMap, HashSet};
use std::ptr;

use sqlx::Row as _;
use time::{Date, OffsetDateTime};

use super::super::ledger::{Counts, Ledger, Outcome, User, UserDay, Verdict};
use super::{Id, Stored, id};
use crate::ads::AdDelivery;
use crate::store::{Failure, Tx, column};

/// Inserts events as counted, and returns the new ones; what turns out otherwise is corrected by [`write_rows`]. But if
/// some of `users` were erased, it inserts nothing, and returns when that was.
pub(super) async fn insert<'a>(
    tx: &mut Tx<'_>,
    events: &[&'a AdDelivery],
    users: &[&str],
) -> Result<(HashMap<Id<'a>, &'a AdDelivery>, HashMap<String, OffsetDateTime>), Failure> {
    let rows = sqlx::query(
        r#"WITH forgotten AS (
           SELECT user_id, forgotten_at FROM ad_forgotten_users WHERE user_id = ANY($18)
           ), inserted AS (
           INSERT INTO ad_events (campaign_id, event_id, user_id, type, day, cost, value, outcome, impression_id,
             click_id, lease_id, requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset")
           SELECT campaign_id, event_id, user_id, type, day, cost, value, 'counted', impression_id,
             click_id, lease_id, requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset"
           FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::date[], $6::bigint[], $7::bigint[],
                       $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[],
                       $14::timestamptz[], $15::text[], $16::int[], $17::bigint[])
             AS new (campaign_id, event_id, user_id, type, day, cost, value, impression_id, click_id, lease_id,
                     requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset")
           WHERE NOT EXISTS (SELECT FROM forgotten)
           ON CONFLICT (campaign_id, event_id) DO NOTHING RETURNING 1)
           SELECT total.inserted, user_id, forgotten_at
           FROM (SELECT count(*) AS inserted FROM inserted) AS total LEFT JOIN forgotten ON true"#,
    )
    .bind(column!(events, |e| e.event.campaign.get()))
    .bind(column!(events, |e| e.envelope.id.as_str()))
    .bind(column!(events, |e| e.event.user.as_str()))
    .bind(column!(events, |e| e.event.event_type.name()))
    .bind(column!(events, |e| e.event.day))
    .bind(column!(events, |e| e.event.cost.get()))
    .bind(column!(events, |e| e.event.data.value.map(|value| value.get())))
    .bind(column!(events, |e| e.event.data.impression_id.as_ref().map(|id| id.as_str())))
    .bind(column!(events, |e| e.event.data.click_id.as_ref().map(|id| id.as_str())))
    .bind(column!(events, |e| e.event.lease.as_deref()))
    .bind(column!(events, |e| e.envelope.user_id.as_deref()))
    .bind(column!(events, |e| e.envelope.request_id.as_deref()))
    .bind(column!(events, |e| e.envelope.accepted_at))
    .bind(column!(events, |e| e.envelope.occurred_at))
    .bind(column!(events, |e| e.position.topic.as_str()))
    .bind(column!(events, |e| e.position.partition))
    .bind(column!(events, |e| e.position.offset))
    .bind(users)
    .fetch_all(&mut *tx)
    .await?;
    let mut forgotten = HashMap::new();
    for row in &rows {
        if let Some(user) = row.try_get(1)? {
            forgotten.insert(user, row.try_get(2)?);
        }
    }
    if !forgotten.is_empty() {
        return Ok((HashMap::new(), forgotten));
    }
    // There is always at least one row.
    let inserted: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    if usize::try_from(inserted).is_ok_and(|inserted| inserted == events.len()) {
        return Ok((events.iter().map(|event| (id(event), *event)).collect(), forgotten));
    }
    Ok((inserted_now(tx, events).await?, forgotten))
}

/// The events that this transaction inserted. Returning a row for each from the insert would cost more, and nearly always
/// all events are new. It works only outside a savepoint: within one, `xmin` is the subtransaction's id.
async fn inserted_now<'a>(
    tx: &mut Tx<'_>,
    events: &[&'a AdDelivery],
) -> Result<HashMap<Id<'a>, &'a AdDelivery>, Failure> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT campaign_id, event_id FROM unnest($1::bigint[], $2::text[]) AS new (campaign_id, event_id)
         JOIN ad_events AS e USING (campaign_id, event_id) WHERE e.xmin = pg_current_xact_id()::xid",
    )
    .bind(column!(events, |e| e.event.campaign.get()))
    .bind(column!(events, |e| e.envelope.id.as_str()))
    .fetch_all(tx)
    .await?;
    let new: HashSet<Id<'_>> = rows.iter().map(|(campaign, event)| (*campaign, event.as_str())).collect();
    Ok(events.iter().map(|event| (id(event), *event)).filter(|(id, _)| new.contains(id)).collect())
}

/// Corrects the rows that are not as [`insert`] wrote them: void, invalid, or of another copy than the first.
pub(super) async fn write_rows(
    tx: &mut Tx<'_>,
    stored: &HashMap<Id<'_>, Stored<'_>>,
    inserted: &HashMap<Id<'_>, &AdDelivery>,
) -> Result<(), Failure> {
    let mut rows: Vec<(&AdDelivery, Verdict)> = Vec::new();
    for (id, row) in stored {
        let Some((delivery, verdict)) = row.new else { continue };
        let is_inserted = inserted.get(id).is_some_and(|inserted| ptr::eq(*inserted, delivery));
        if !is_inserted || verdict.outcome() != Outcome::Counted {
            rows.push((delivery, verdict));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_unstable_by_key(|(delivery, _)| id(delivery));
    let billed = |verdict: &Verdict| verdict.outcome() == Outcome::Counted;
    sqlx::query(
        r#"UPDATE ad_events AS e SET outcome = new.outcome, reason = new.reason, cost = new.cost, day = new.day,
             lease_id = new.lease_id, accepted_at = new.accepted_at, topic = new.topic, partition = new.partition,
             "offset" = new."offset", value = new.value
           FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::date[], $7::text[],
                       $8::timestamptz[], $9::text[], $10::int[], $11::bigint[], $12::bigint[])
             AS new (campaign_id, event_id, outcome, reason, cost, day, lease_id, accepted_at, topic, partition,
                     "offset", value)
           WHERE e.campaign_id = new.campaign_id AND e.event_id = new.event_id"#,
    )
    .bind(column!(rows, |(e, _)| e.event.campaign.get()))
    .bind(column!(rows, |(e, _)| e.envelope.id.as_str()))
    .bind(column!(rows, |(_, verdict)| verdict.outcome().as_str()))
    .bind(column!(rows, |(_, verdict)| verdict.reason()))
    .bind(column!(rows, |(e, verdict)| if billed(verdict) { e.event.cost.get() } else { 0 }))
    .bind(column!(rows, |(e, _)| e.event.day))
    .bind(column!(rows, |(e, _)| e.event.lease.as_deref()))
    .bind(column!(rows, |(e, _)| e.envelope.accepted_at))
    .bind(column!(rows, |(e, _)| e.position.topic.as_str()))
    .bind(column!(rows, |(e, _)| e.position.partition))
    .bind(column!(rows, |(e, _)| e.position.offset))
    .bind(column!(rows, |(e, _)| e.event.data.value.map(|value| value.get())))
    .execute(tx)
    .await?;
    Ok(())
}

/// Answers with the number of new rows of `ad_user_days`.
const BOOKS: &str = "
WITH users AS (
  INSERT INTO ad_user_days (campaign_id, user_id, day, impressions, clicks, conversions, last_impression_at,
                            last_click_at, minute, minute_events)
  SELECT * FROM unnest($30::bigint[], $31::text[], $32::date[], $33::int[], $34::int[], $35::int[],
                       $36::timestamptz[], $37::timestamptz[], $38::timestamptz[], $39::int[])
  ON CONFLICT (campaign_id, user_id, day) DO UPDATE SET
    impressions = excluded.impressions, clicks = excluded.clicks, conversions = excluded.conversions,
    last_impression_at = excluded.last_impression_at, last_click_at = excluded.last_click_at,
    minute = excluded.minute, minute_events = excluded.minute_events
  RETURNING xmax = 0 AS is_new
), leases AS (
  SELECT * FROM unnest($1::text[], $2::bigint[]) AS leases (id, settled)
), gone AS (
  DELETE FROM ad_leases AS l USING leases WHERE l.id = leases.id AND l.amount = leases.settled
), settled AS (
  UPDATE ad_leases AS l SET settled = leases.settled FROM leases
  WHERE l.id = leases.id AND l.amount > leases.settled AND l.settled <> leases.settled
), days AS (
  UPDATE campaign_days AS d SET spent = days.spent, reserved = days.reserved
  FROM unnest($3::bigint[], $4::date[], $5::bigint[], $6::bigint[]) AS days (campaign_id, day, spent, reserved)
  WHERE d.campaign_id = days.campaign_id AND d.day = days.day
    AND (d.spent, d.reserved) IS DISTINCT FROM (days.spent, days.reserved)
), hours AS (
  INSERT INTO ad_stats AS s (campaign_id, day, hour, impressions, clicks, conversions, users, spend, value, void)
  SELECT campaign_id, day, hour, impressions, clicks, conversions, users, spend, value::numeric, void
  FROM unnest($7::bigint[], $8::date[], $9::int[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],
              $14::bigint[], $15::text[], $16::bigint[])
    AS hours (campaign_id, day, hour, impressions, clicks, conversions, users, spend, value, void)
  ON CONFLICT (campaign_id, day, hour) DO UPDATE SET
    impressions = s.impressions + excluded.impressions, clicks = s.clicks + excluded.clicks,
    conversions = s.conversions + excluded.conversions, users = s.users + excluded.users,
    spend = s.spend + excluded.spend, value = s.value + excluded.value, void = s.void + excluded.void
), invalid AS (
  INSERT INTO ad_invalid AS i (campaign_id, reason, events)
  SELECT * FROM unnest($17::bigint[], $18::text[], $19::bigint[])
  ON CONFLICT (campaign_id, reason) DO UPDATE SET events = i.events + excluded.events
), totals AS (
  UPDATE campaigns AS c SET spent = new.spent, reserved = new.reserved, report_version = new.version,
    impressions = c.impressions + new.impressions, clicks = c.clicks + new.clicks,
    conversions = c.conversions + new.conversions, value = c.value + new.value::numeric, users = c.users + new.users,
    void = c.void + new.void, reported_at = now()
  FROM unnest($20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[],
              $27::text[], $28::bigint[], $29::bigint[])
    AS new (id, spent, reserved, version, impressions, clicks, conversions, value, users, void)
  WHERE c.id = new.id AND c.report_version <> new.version
)
SELECT count(*) FILTER (WHERE is_new) FROM users";

/// Writes the money, the statistics and what the users did, in one round trip.
pub(super) async fn write_books(tx: &mut Tx<'_>, ledger: &Ledger<'_>) -> Result<(), Failure> {
    let leases: Vec<(&str, i64)> = ledger.leases.iter().map(|(id, lease)| (*id, lease.settled)).collect();
    let days: Vec<_> = ledger.days.iter().collect();
    let campaigns: Vec<_> = ledger.campaigns.iter().collect();
    let hours: Vec<(i64, Date, i32, &Counts)> = campaigns
        .iter()
        .flat_map(|(id, campaign)| campaign.hours.iter().map(|((day, hour), counts)| (**id, *day, *hour, counts)))
        .collect();
    let invalid: Vec<(i64, &str, i64)> = campaigns
        .iter()
        .flat_map(|(id, campaign)| campaign.invalid.iter().map(|(reason, events)| (**id, *reason, *events)))
        .collect();
    let users: Vec<(i64, &str, Date, &UserDay)> = ledger
        .users
        .iter()
        .flat_map(|((campaign, user), User { days })| {
            days.iter().map(move |(day, seen)| (*campaign, *user, *day, seen))
        })
        .filter(|(.., seen)| seen.is_changed)
        .collect();
    let new = users.iter().filter(|(.., seen)| !seen.is_stored).count();
    let inserted: i64 = sqlx::query_scalar(BOOKS)
        .bind(column!(leases, |(id, _)| *id))
        .bind(column!(leases, |(_, settled)| *settled))
        .bind(column!(days, |((campaign, _), _)| *campaign))
        .bind(column!(days, |((_, day), _)| *day))
        .bind(column!(days, |(_, day)| day.spent))
        .bind(column!(days, |(_, day)| day.reserved))
        .bind(column!(hours, |(campaign, ..)| *campaign))
        .bind(column!(hours, |(_, day, ..)| *day))
        .bind(column!(hours, |(_, _, hour, _)| *hour))
        .bind(column!(hours, |(.., counts)| counts.events[0]))
        .bind(column!(hours, |(.., counts)| counts.events[1]))
        .bind(column!(hours, |(.., counts)| counts.events[2]))
        .bind(column!(hours, |(.., counts)| counts.users))
        .bind(column!(hours, |(.., counts)| counts.spend))
        .bind(column!(hours, |(.., counts)| counts.value.to_string()))
        .bind(column!(hours, |(.., counts)| counts.void))
        .bind(column!(invalid, |(campaign, ..)| *campaign))
        .bind(column!(invalid, |(_, reason, _)| *reason))
        .bind(column!(invalid, |(.., events)| *events))
        .bind(column!(campaigns, |(id, _)| **id))
        .bind(column!(campaigns, |(_, campaign)| campaign.spent))
        .bind(column!(campaigns, |(_, campaign)| campaign.reserved))
        .bind(column!(campaigns, |(_, campaign)| campaign.version))
        .bind(column!(campaigns, |(_, campaign)| campaign.added.events[0]))
        .bind(column!(campaigns, |(_, campaign)| campaign.added.events[1]))
        .bind(column!(campaigns, |(_, campaign)| campaign.added.events[2]))
        .bind(column!(campaigns, |(_, campaign)| campaign.added.value.to_string()))
        .bind(column!(campaigns, |(_, campaign)| campaign.users))
        .bind(column!(campaigns, |(_, campaign)| campaign.added.void))
        .bind(column!(users, |(campaign, ..)| *campaign))
        .bind(column!(users, |(_, user, ..)| *user))
        .bind(column!(users, |(_, _, day, _)| *day))
        .bind(column!(users, |(.., seen)| seen.events[0]))
        .bind(column!(users, |(.., seen)| seen.events[1]))
        .bind(column!(users, |(.., seen)| seen.events[2]))
        .bind(column!(users, |(.., seen)| seen.last_impression_at))
        .bind(column!(users, |(.., seen)| seen.last_click_at))
        .bind(column!(users, |(.., seen)| seen.minute))
        .bind(column!(users, |(.., seen)| seen.minute_events))
        .fetch_one(tx)
        .await?;
    // The rows that exist are locked; one that another transaction has made meanwhile was not read.
    if usize::try_from(inserted).is_ok_and(|inserted| inserted == new) {
        return Ok(());
    }
    Err(Failure::again("another worker has just counted an event of the same user"))
}
