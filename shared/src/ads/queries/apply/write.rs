//! Writes a batch: the events, what their users did, and the books.

use std::collections::{HashMap, HashSet};
use std::ptr;

use time::Date;

use super::super::ledger::{Counts, Ledger, Outcome, User, UserDay, Verdict};
use super::{Id, Stored, id};
use crate::ads::AdDelivery;
use crate::store::{Failure, Tx, column};

/// Inserts events as counted, and returns the new ones. What turns out otherwise is corrected by [`write_rows`].
pub(super) async fn insert<'a>(
    tx: &mut Tx<'_>,
    events: &[&'a AdDelivery],
) -> Result<HashMap<Id<'a>, &'a AdDelivery>, Failure> {
    let inserted: i64 = sqlx::query_scalar(
        r#"WITH inserted AS (
           INSERT INTO ad_events (campaign_id, event_id, user_id, type, day, cost, value, outcome, impression_id,
             click_id, lease_id, requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset")
           SELECT campaign_id, event_id, user_id, type, day, cost, value, 'counted', impression_id,
             click_id, lease_id, requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset"
           FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::date[], $6::bigint[], $7::bigint[],
                       $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[],
                       $14::timestamptz[], $15::text[], $16::int[], $17::bigint[])
             AS new (campaign_id, event_id, user_id, type, day, cost, value, impression_id, click_id, lease_id,
                     requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset")
           ON CONFLICT (campaign_id, event_id) DO NOTHING RETURNING 1)
           SELECT count(*) FROM inserted"#,
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
    .fetch_one(&mut *tx)
    .await?;
    if usize::try_from(inserted).is_ok_and(|inserted| inserted == events.len()) {
        return Ok(events.iter().map(|event| (id(event), *event)).collect());
    }
    inserted_now(tx, events).await
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

pub(super) async fn write_users(tx: &mut Tx<'_>, ledger: &Ledger<'_>) -> Result<(), Failure> {
    let changed: Vec<(i64, &str, Date, &UserDay)> = ledger
        .users
        .iter()
        .flat_map(|((campaign, user), User { days })| {
            days.iter().map(move |(day, seen)| (*campaign, *user, *day, seen))
        })
        .filter(|(.., seen)| seen.is_changed)
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let new = changed.iter().filter(|(.., seen)| !seen.is_stored).count();
    let inserted: i64 = sqlx::query_scalar(
        "WITH written AS (
           INSERT INTO ad_user_days (campaign_id, user_id, day, impressions, clicks, conversions, last_impression_at,
                                     last_click_at, minute, minute_events)
           SELECT * FROM unnest($1::bigint[], $2::text[], $3::date[], $4::int[], $5::int[], $6::int[],
                                $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::int[])
           ON CONFLICT (campaign_id, user_id, day) DO UPDATE SET
             impressions = excluded.impressions, clicks = excluded.clicks, conversions = excluded.conversions,
             last_impression_at = excluded.last_impression_at, last_click_at = excluded.last_click_at,
             minute = excluded.minute, minute_events = excluded.minute_events
           RETURNING xmax = 0 AS inserted)
         SELECT count(*) FILTER (WHERE inserted) FROM written",
    )
    .bind(column!(changed, |(campaign, ..)| *campaign))
    .bind(column!(changed, |(_, user, ..)| *user))
    .bind(column!(changed, |(_, _, day, _)| *day))
    .bind(column!(changed, |(.., seen)| seen.events[0]))
    .bind(column!(changed, |(.., seen)| seen.events[1]))
    .bind(column!(changed, |(.., seen)| seen.events[2]))
    .bind(column!(changed, |(.., seen)| seen.last_impression_at))
    .bind(column!(changed, |(.., seen)| seen.last_click_at))
    .bind(column!(changed, |(.., seen)| seen.minute))
    .bind(column!(changed, |(.., seen)| seen.minute_events))
    .fetch_one(tx)
    .await?;
    // The rows that exist are locked; one that another transaction has made meanwhile was not read.
    if usize::try_from(inserted).is_ok_and(|inserted| inserted == new) {
        return Ok(());
    }
    Err(Failure::again("another worker has just counted an event of the same user"))
}

const BOOKS: &str = "
WITH leases AS (
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
  FROM unnest($7::bigint[], $8::date[], $9::smallint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],
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
)
UPDATE campaigns AS c SET spent = new.spent, reserved = new.reserved, report_version = new.version,
  impressions = c.impressions + new.impressions, clicks = c.clicks + new.clicks,
  conversions = c.conversions + new.conversions, value = c.value + new.value::numeric, users = c.users + new.users,
  void = c.void + new.void, reported_at = now()
FROM unnest($20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[],
            $27::text[], $28::bigint[], $29::bigint[])
  AS new (id, spent, reserved, version, impressions, clicks, conversions, value, users, void)
WHERE c.id = new.id AND c.report_version <> new.version";

/// Writes the money and the statistics, in one round trip.
pub(super) async fn write_books(tx: &mut Tx<'_>, ledger: &Ledger<'_>) -> Result<(), Failure> {
    let leases: Vec<(&str, i64)> = ledger.leases.iter().map(|(id, lease)| (*id, lease.settled)).collect();
    let days: Vec<_> = ledger.days.iter().collect();
    let campaigns: Vec<_> = ledger.campaigns.iter().collect();
    let hours: Vec<(i64, Date, i16, &Counts)> = campaigns
        .iter()
        .flat_map(|(id, campaign)| campaign.hours.iter().map(|((day, hour), counts)| (**id, *day, *hour, counts)))
        .collect();
    let invalid: Vec<(i64, &str, i64)> = campaigns
        .iter()
        .flat_map(|(id, campaign)| campaign.invalid.iter().map(|(reason, events)| (**id, *reason, *events)))
        .collect();
    sqlx::query(BOOKS)
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
        .execute(tx)
        .await?;
    Ok(())
}
