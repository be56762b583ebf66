//! Applies a batch of ad events in one transaction: first the events, then, under the locks of their campaigns, the
//! money and the statistics.
//!
//! The outcome depends only on the order of the log within a campaign and user, never on the boundaries of batches.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ptr;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::{Date, Duration, OffsetDateTime};

use super::ledger::{Applied, Campaign, Counts, Day, Lease, Ledger, Outcome, Processed, User, UserDay, Verdict};
use super::terms_row::{campaign_id, read_rules};
use crate::ads::AdDelivery;
use crate::runtime::sabotage::makes;
use crate::store::{Failure, Tx};

/// The first statement of a transaction that must not run concurrently with the erasure of a user.
pub const BEGIN: &str = "LOCK TABLE ad_forgotten_users IN ROW SHARE MODE";

/// An event's identity.
type Id<'a> = (i64, &'a str);

fn id(delivery: &AdDelivery) -> Id<'_> {
    (delivery.event.campaign.get(), delivery.envelope.id.as_str())
}

/// The values of a column, one for each element.
macro_rules! column {
    ($all:expr, |$one:pat_param| $value:expr) => {
        $all.iter().map(|$one| $value).collect::<Vec<_>>()
    };
}

/// An event as its row has it, or will have it.
struct Stored<'a> {
    user: String,
    type_name: String,
    day: Date,
    accepted_at: OffsetDateTime,
    position: (String, i32, i64),
    is_void: bool,
    /// Whether the row is of this transaction, and the verdict about it.
    new: Option<(&'a AdDelivery, Verdict)>,
}

/// Applies a batch, in the given order; of copies of an event, the first counts, unless it is void and a later one has
/// room. The transaction must begin with [`BEGIN`]. After a failure, nothing of the batch is applied; but if the
/// connection was lost during the commit, all of it may be. A repeat does no harm.
pub async fn apply(tx: &mut Tx<'_>, given: &[&AdDelivery]) -> Result<Applied, Failure> {
    #[cfg(feature = "sabotage")]
    let moved = super::sabotaged::with_days(tx, given).await?;
    #[cfg(feature = "sabotage")]
    let given: &[&AdDelivery] = &moved.iter().collect::<Vec<_>>();
    let none = Processed { outcome: Outcome::Forgotten, reason: None, billed: 0, version: None, fence: None };
    let mut outcome = Applied { events: vec![none; given.len()], fences: Vec::new() };
    let forgotten = forgotten(tx, given).await?;
    let is_forgotten = |event: &AdDelivery| {
        let at = forgotten.get(event.event.user.as_str());
        at.is_some_and(|at| event.envelope.accepted_at <= *at || event.position.appended_at <= *at)
    };
    let batch: Vec<(usize, &AdDelivery)> =
        given.iter().enumerate().filter(|(_, event)| !is_forgotten(event)).map(|(at, event)| (at, *event)).collect();
    if batch.is_empty() {
        return Ok(outcome);
    }

    let mut seen = HashSet::with_capacity(batch.len());
    let mut first: Vec<&AdDelivery> =
        batch.iter().map(|(_, event)| *event).filter(|event| seen.insert(id(event))).collect();
    // Two transactions insert in the same order.
    first.sort_unstable_by_key(|event| id(event));
    let new = insert(tx, &first).await?;
    let known: Vec<Id<'_>> = first.iter().map(|event| id(event)).filter(|id| !new.contains_key(id)).collect();
    let mut stored = if known.is_empty() { HashMap::new() } else { stored(tx, &known).await? };

    let mut ledger = Ledger::default();
    users(tx, &mut ledger, &batch).await?;
    campaigns(tx, &mut ledger, &batch).await?;
    leases(tx, &mut ledger, &batch).await?;
    days(tx, &mut ledger, &batch).await?;
    let hours = hours(tx, &batch, &stored).await?;

    for (at, delivery) in &batch {
        let key = id(delivery);
        let hour = hours.of(key.0, delivery.event.day, delivery.envelope.accepted_at);
        let outcome_of = match stored.get_mut(&key) {
            None => {
                let verdict = ledger.judge(delivery);
                ledger.book(delivery, verdict, hour);
                stored.insert(key, Stored::new(delivery, verdict));
                (verdict.outcome(), Some(verdict))
            }
            Some(known) if !known.is_same(delivery) => (Outcome::Conflicting, None),
            // A redelivery of the void event itself stays void; another copy may have found room.
            Some(known) if known.is_void && known.position != position(delivery) => match ledger.judge(delivery) {
                verdict @ Verdict::Counted { .. } => {
                    ledger.unvoid(key.0, known.day, hours.of(key.0, known.day, known.accepted_at));
                    ledger.book(delivery, verdict, hour);
                    stored.insert(key, Stored::new(delivery, verdict));
                    (Outcome::Counted, Some(verdict))
                }
                Verdict::Void(_) | Verdict::Invalid(_) => (Outcome::Repeated, None),
            },
            Some(_) => (Outcome::Repeated, None),
        };
        let (what, verdict) = outcome_of;
        if what == Outcome::Void && makes("raised-refusal") {
            return Err(Failure::failed("SQLSTATE 23514: no room"));
        }
        let billed = if what == Outcome::Counted { delivery.event.cost.get() } else { 0 };
        let version = ledger.campaigns.get(&key.0).map(|campaign| campaign.version);
        if let Some(event) = outcome.events.get_mut(*at) {
            let reason = verdict.and_then(Verdict::reason);
            let fence = ledger.campaigns.keys().position(|campaign| *campaign == key.0);
            *event = Processed { outcome: what, reason, billed, version, fence };
        }
    }
    for (campaign, state) in &ledger.campaigns {
        outcome.fences.push((campaign_id(*campaign)?.cache_key(), state.version));
    }

    write_rows(tx, &stored, &new).await?;
    write_users(tx, &ledger).await?;
    write_books(tx, &ledger).await?;
    Ok(outcome)
}

fn position(delivery: &AdDelivery) -> (String, i32, i64) {
    let at = &delivery.position;
    (at.topic.clone(), at.partition, at.offset)
}

impl<'a> Stored<'a> {
    fn new(delivery: &'a AdDelivery, verdict: Verdict) -> Self {
        let event = &delivery.event;
        Self {
            user: event.user.as_str().to_owned(),
            type_name: event.event_type.name().to_owned(),
            day: event.day,
            accepted_at: delivery.envelope.accepted_at,
            position: position(delivery),
            is_void: matches!(verdict, Verdict::Void(_)),
            new: Some((delivery, verdict)),
        }
    }

    fn is_same(&self, delivery: &AdDelivery) -> bool {
        self.user == delivery.event.user.as_str() && self.type_name == delivery.event.event_type.name()
    }
}

impl Verdict {
    fn outcome(self) -> Outcome {
        match self {
            Self::Counted { .. } => Outcome::Counted,
            Self::Void(_) => Outcome::Void,
            Self::Invalid(_) => Outcome::Invalid,
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Counted { .. } => None,
            Self::Void(reason) | Self::Invalid(reason) => Some(reason),
        }
    }
}

/// When the batch's users were erased: one index lookup, usually in an empty table.
async fn forgotten(tx: &mut Tx<'_>, batch: &[&AdDelivery]) -> Result<HashMap<String, OffsetDateTime>, Failure> {
    let users: BTreeSet<&str> = batch.iter().map(|event| event.event.user.as_str()).collect();
    let query = sqlx::query_as("SELECT user_id, forgotten_at FROM ad_forgotten_users WHERE user_id = ANY($1)");
    let rows: Vec<(String, OffsetDateTime)> = query.bind(column!(users, |user| *user)).fetch_all(tx).await?;
    Ok(rows.into_iter().collect())
}

/// Inserts events as counted, and returns the new ones. What turns out otherwise is corrected by [`write_rows`].
async fn insert<'a>(tx: &mut Tx<'_>, events: &[&'a AdDelivery]) -> Result<HashMap<Id<'a>, &'a AdDelivery>, Failure> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        r#"INSERT INTO ad_events (campaign_id, event_id, user_id, type, day, cost, value, outcome, impression_id,
             click_id, lease_id, requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset")
           SELECT campaign_id, event_id, user_id, type, day, cost, value, 'counted', impression_id,
             click_id, lease_id, requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset"
           FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::date[], $6::bigint[], $7::bigint[],
                       $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[],
                       $14::timestamptz[], $15::text[], $16::int[], $17::bigint[])
             AS new (campaign_id, event_id, user_id, type, day, cost, value, impression_id, click_id, lease_id,
                     requested_by, request_id, accepted_at, occurred_at, topic, partition, "offset")
           ON CONFLICT (campaign_id, event_id) DO NOTHING RETURNING campaign_id, event_id"#,
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
    .fetch_all(tx)
    .await?;
    let new: HashSet<Id<'_>> = rows.iter().map(|(campaign, event)| (*campaign, event.as_str())).collect();
    Ok(events.iter().map(|event| (id(event), *event)).filter(|(id, _)| new.contains(id)).collect())
}

/// The events that were stored before, locked: a void one may be raised.
async fn stored<'a>(tx: &mut Tx<'_>, asked: &[Id<'a>]) -> Result<HashMap<Id<'a>, Stored<'a>>, Failure> {
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

/// What the batch's users did in its campaigns, locked.
async fn users<'a>(tx: &mut Tx<'_>, ledger: &mut Ledger<'a>, batch: &[(usize, &'a AdDelivery)]) -> Result<(), Failure> {
    for (_, delivery) in batch {
        let event = &delivery.event;
        ledger.users.entry((event.campaign.get(), event.user.as_str())).or_default();
    }
    let keys: Vec<(i64, &str)> = ledger.users.keys().copied().collect();
    let rows = sqlx::query(
        "SELECT campaign_id, user_id, day, impressions, clicks, conversions, last_impression_at, last_click_at,
                minute, minute_events
         FROM ad_user_days JOIN unnest($1::bigint[], $2::text[]) AS asked (campaign_id, user_id)
              USING (campaign_id, user_id)
         ORDER BY campaign_id, user_id, day FOR UPDATE OF ad_user_days",
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
async fn campaigns(tx: &mut Tx<'_>, ledger: &mut Ledger<'_>, batch: &[(usize, &AdDelivery)]) -> Result<(), Failure> {
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
async fn leases<'a>(
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
async fn days(tx: &mut Tx<'_>, ledger: &mut Ledger<'_>, batch: &[(usize, &AdDelivery)]) -> Result<(), Failure> {
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
struct Hours(HashMap<(i64, OffsetDateTime), (Date, i16)>);

fn quarter(at: OffsetDateTime) -> OffsetDateTime {
    let into = Duration::minutes(i64::from(at.minute() % 15)) + Duration::seconds(at.second().into());
    at - into - Duration::nanoseconds(at.nanosecond().into())
}

impl Hours {
    /// The hour of an event in its day: one that was accepted around midnight may belong to the day beside.
    fn of(&self, campaign: i64, day: Date, at: OffsetDateTime) -> i16 {
        match self.0.get(&(campaign, quarter(at))) {
            Some((date, _)) if *date > day => 23,
            Some((date, hour)) if *date == day => *hour,
            _ => 0,
        }
    }
}

async fn hours(
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

/// Corrects the rows that are not as [`insert`] wrote them: void, invalid, or of another copy than the first.
async fn write_rows(
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

async fn write_users(tx: &mut Tx<'_>, ledger: &Ledger<'_>) -> Result<(), Failure> {
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
async fn write_books(tx: &mut Tx<'_>, ledger: &Ledger<'_>) -> Result<(), Failure> {
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
