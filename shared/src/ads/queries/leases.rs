//! Leases: the money of a campaign that an API instance may spend, for seconds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::days::first_instant;
use super::locked::{IfLocked, Locking, lock, locking};
use super::offer::{Budget, Money, Offer, Pace, Scope};
use super::terms_row::{campaign_id, read_terms};
use crate::ads::{AdEventType, CampaignId, CapUnsure, Nanos, OnExhausted, Pacing, Status, Terms};
use crate::runtime::sabotage::makes;
use crate::store::{Failure, Store, Tx, Work, within_deadline};

/// How long a lease may be spent at most. It ends with the campaign's day, too.
const USABLE_S: f64 = 7.0;
/// How long after that a lease is kept open. A record may be sent twice, with a timeout each: the last one that a lease
/// allowed is in the log, or never will be, some seconds after the lease's end.
const GUARD_S: f64 = 3.0;

/// No day is longer, wherever clocks are changed.
const LONGEST_DAY: time::Duration = time::Duration::hours(26);

/// What an instance needs of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The campaign.
    pub campaign: CampaignId,
    /// About how much to lease; 0 asks for the facts only.
    pub amount: Nanos,
}

/// The answer for a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What decides about its events.
    pub facts: Facts,
    /// Its money.
    pub room: Room,
}

/// What decides about a campaign's events, for [`Facts::usable_for`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Grows with each change of the terms.
    pub revision: i64,
    /// The price of an impression, a click and a conversion; only one of them is not 0.
    pub costs: [Nanos; 3],
    /// The most impressions of a user in a day.
    pub cap: Option<u32>,
    /// Whether to accept an impression although the caps cannot be proven: `cap_unsure: allow`.
    pub allow_unsure: bool,
    /// Whether conversions are recorded, unbilled, once the budget is exhausted.
    pub record_exhausted: bool,
    /// Whether it takes events.
    pub state: State,
    /// The campaign's day, which its events belong to.
    pub day: Date,
    /// The later of the day's begin and the campaign's creation: no event of this day was accepted before.
    pub day_begins: OffsetDateTime,
    /// The day before, if the campaign is older than this day.
    pub day_before: Option<DayBefore>,
    /// Until the day ends.
    pub day_ends_in: Duration,
    /// How long this holds, and its lease may be spent, counted from before the question was asked.
    pub usable_for: Duration,
}

/// The day before a campaign's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayBefore {
    /// Its date.
    pub day: Date,
    /// No event of it was accepted before.
    pub begins: OffsetDateTime,
    /// How long ago it ended.
    pub ended_ago: Duration,
}

/// Whether a campaign takes events; this says nothing about its money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Running,
    /// It was not activated yet.
    Draft,
    /// It starts later.
    Scheduled {
        /// The seconds until then.
        in_s: u32,
    },
    /// It is paused.
    Paused,
    /// It is over.
    Ended,
}

/// The money for a campaign's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// None was asked for, or the campaign takes no events.
    NotAsked,
    /// This lease.
    Lease(Lease),
    /// A budget has no room for one more event.
    Exhausted {
        /// Which budget.
        scope: Scope,
        /// The seconds after which there may be room: 1 while leases are out, until the next day, or never.
        retry_after: Option<u32>,
    },
    /// Even pacing has released no room yet.
    Paced {
        /// The seconds after which it will.
        retry_after: u32,
    },
}

/// Money that one instance may spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id: a UUIDv7, which a restored database cannot give again.
    pub id: String,
    /// How much.
    pub amount: Nanos,
}

/// The answers for several campaigns. One that does not exist is in none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Those that there are.
    pub granted: HashMap<CampaignId, Granted>,
    /// Those without an answer, because somebody else has locked them.
    pub locked: HashSet<CampaignId>,
    /// Those without an answer, because this version cannot read their rows, and why.
    pub unreadable: HashMap<CampaignId, String>,
}

/// Leases money of several campaigns in one transaction, and reads what decides about their events.
pub async fn grant(store: &Store, instance: &str, wants: &[Want], if_locked: IfLocked) -> Result<Grants, Failure> {
    store.transact(&if_locked.first(store), &Ask { instance, wants, if_locked }).await
}

struct Ask<'a> {
    instance: &'a str,
    wants: &'a [Want],
    if_locked: IfLocked,
}

/// `$1` are those that get money. Of all in `$2`, a running campaign whose day has no row yet is locked, too: the row gets
/// its terms, which must not change meanwhile.
const LOCK: Locking = locking!(
    "SELECT id FROM campaigns AS c
     WHERE id = ANY($1)
        OR id = ANY($2)
           AND status = 'active' AND coalesce(starts_at <= now(), true) AND coalesce(ends_at > now(), true)
           AND NOT EXISTS (SELECT FROM campaign_days AS d
                           WHERE d.campaign_id = c.id AND d.day = (now() AT TIME ZONE c.timezone)::date)
     ORDER BY id"
);

/// The campaigns with their day. A day that has no row gets one, so that it keeps its greatest cap, if its campaign is
/// locked: `$2`. One that is not [`State::Running`] takes no event, and gets no day: its time zone can still be changed.
/// A day ends with the next midnight that is still to come.
const READ: &str = concat!(
    "
WITH asked AS (
  SELECT c.*, (now() AT TIME ZONE timezone)::date AS day FROM campaigns AS c WHERE id = ANY($1)
), timed AS (
  SELECT zoned.*, CASE WHEN next_begins > now() THEN next_begins
                       ELSE (day + 1)::timestamp AT TIME ZONE timezone END AS day_ends
  FROM (SELECT asked.*, ",
    first_instant!("day"),
    " AS day_begins, ",
    first_instant!("day + 1"),
    " AS next_begins FROM asked) AS zoned
), made AS (
  INSERT INTO campaign_days (campaign_id, day, budget, cap) SELECT id, day, daily_budget, cap FROM asked
  WHERE id = ANY($2)
    AND status = 'active' AND coalesce(starts_at <= now(), true) AND coalesce(ends_at > now(), true)
    AND NOT EXISTS (SELECT FROM campaign_days AS d WHERE d.campaign_id = asked.id AND d.day = asked.day)
  ON CONFLICT DO NOTHING
)
SELECT timed.*, greatest(day_begins, created_at) AS begins,
       extract(epoch FROM day_ends - now())::float8 AS day_ends_in,
       extract(epoch FROM day_ends - day_begins)::float8 AS day_length,
       extract(epoch FROM starts_at - now())::float8 AS starts_in,
       extract(epoch FROM ends_at - now())::float8 AS ends_in,
       coalesce(d.spent, 0) AS day_spent, coalesce(d.reserved, 0) AS day_reserved,
       d.campaign_id IS NOT NULL AS has_day
FROM timed LEFT JOIN campaign_days AS d ON d.campaign_id = timed.id AND d.day = timed.day"
);

const WRITE: &str = "
WITH new AS (
  SELECT * FROM unnest($1::text[], $2::bigint[], $3::date[], $4::bigint[], $5::float8[])
    AS new (id, campaign_id, day, amount, seconds)
), leased AS (
  INSERT INTO ad_leases (id, campaign_id, day, instance, amount, expires_at)
  SELECT id, campaign_id, day, $6, amount, now() + make_interval(secs => seconds) FROM new
), days AS (
  UPDATE campaign_days AS d SET reserved = d.reserved + new.amount FROM new
  WHERE d.campaign_id = new.campaign_id AND d.day = new.day
)
UPDATE campaigns AS c SET reserved = c.reserved + new.amount FROM new WHERE c.id = new.campaign_id";

impl Work for Ask<'_> {
    type Output = Grants;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Failure> {
        let mut wanted: HashMap<i64, Nanos> = HashMap::with_capacity(self.wants.len());
        for Want { campaign, amount } in self.wants {
            wanted.insert(campaign.get(), *amount);
        }
        let paid: Vec<i64> = wanted.iter().filter(|(_, amount)| **amount > Nanos::ZERO).map(|(id, _)| *id).collect();
        let all: Vec<i64> = wanted.keys().copied().collect();
        let locking = sqlx::query_scalar(self.if_locked.of(LOCK)).bind(paid).bind(&all);
        let Some(own) = lock(tx, locking).await? else {
            let locked = self.wants.iter().map(|want| want.campaign).collect();
            return Ok(Grants { locked, ..Grants::default() });
        };
        // A statement of its own: it has to see what the others committed for whose locks the first one waited.
        let rows = sqlx::query(READ).bind(all).bind(&own).fetch_all(&mut *tx).await?;
        let own: HashSet<i64> = own.into_iter().collect();
        let mut answers = Grants::default();
        let mut new = NewLeases::default();
        for row in &rows {
            let offered = match Offered::of(row) {
                Ok(offered) => offered,
                Err(Failure { reason, .. }) => {
                    answers.unreadable.insert(campaign_id(row.try_get("id")?)?, reason);
                    continue;
                }
            };
            let wanted = wanted.get(&offered.id.get()).copied().unwrap_or_default();
            let needs_day = offered.facts.state == State::Running && !row.try_get::<bool, _>("has_day")?;
            let needs_lock = wanted > Nanos::ZERO || needs_day;
            if needs_lock && !own.contains(&offered.id.get()) {
                answers.locked.insert(offered.id);
                continue;
            }
            let room = offered.room(wanted, &mut new);
            answers.granted.insert(offered.id, Granted { facts: offered.facts, room });
        }
        new.write(tx, self.instance).await?;
        Ok(answers)
    }
}

#[derive(Default)]
struct NewLeases {
    ids: Vec<String>,
    campaigns: Vec<i64>,
    days: Vec<Date>,
    amounts: Vec<i64>,
    seconds: Vec<f64>,
}

impl NewLeases {
    async fn write(self, tx: &mut Tx<'_>, instance: &str) -> Result<(), Failure> {
        let Self { ids, campaigns, days, amounts, seconds } = self;
        if ids.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(WRITE).bind(ids).bind(campaigns).bind(days).bind(amounts).bind(seconds);
        query.bind(instance).execute(tx).await?;
        Ok(())
    }
}

/// A campaign's row as a basis for leases.
struct Offered {
    id: CampaignId,
    facts: Facts,
    money: Money,
    /// How long its lease may be spent, in seconds.
    usable_s: f64,
}

impl Offered {
    fn of(row: &PgRow) -> Result<Self, Failure> {
        let terms = read_terms(row)?;
        let mut day_ends_in: f64 = row.try_get("day_ends_in")?;
        if makes("midnight-lease") {
            day_ends_in += USABLE_S + GUARD_S;
        }
        let ends_in: Option<f64> = row.try_get("ends_in")?;
        let state = state(&terms, row.try_get("starts_in")?, ends_in);
        let usable_s = USABLE_S.min(day_ends_in).min(ends_in.filter(|in_s| *in_s > 0.0).unwrap_or(USABLE_S)).max(0.0);
        let budget = |limit: Nanos, spent: &str, reserved: &str| -> Result<Budget, Failure> {
            Ok(Budget { limit: limit.get(), spent: row.try_get(spent)?, reserved: row.try_get(reserved)? })
        };
        let day_length: f64 = row.try_get("day_length")?;
        let is_even = terms.pacing == Pacing::Even;
        let pace = Pace { elapsed_ms: millis(day_length - day_ends_in), day_ms: millis(day_length) };
        let costs = [AdEventType::Impression, AdEventType::Click, AdEventType::Conversion].map(|kind| terms.cost(kind));
        // Only one of them is not 0.
        let price = costs.into_iter().max().unwrap_or_default();
        let money = Money {
            price: price.get(),
            total: budget(terms.total_budget, "spent", "reserved")?,
            day: terms.daily_budget.map(|limit| budget(limit, "day_spent", "day_reserved")).transpose()?,
            pace: is_even.then_some(pace),
            day_ends_in_s: seconds(day_ends_in),
        };
        let (day, created_at): (Date, OffsetDateTime) = (row.try_get("day")?, row.try_get("created_at")?);
        let midnight: OffsetDateTime = row.try_get("day_begins")?;
        let day_before = day.previous_day().filter(|_| created_at < midnight).map(|day| DayBefore {
            day,
            begins: created_at.max(midnight - LONGEST_DAY),
            ended_ago: duration(day_length - day_ends_in),
        });
        let facts = Facts {
            revision: row.try_get("revision")?,
            costs,
            cap: terms.cap,
            allow_unsure: terms.cap_unsure == CapUnsure::Allow,
            record_exhausted: terms.on_exhausted == OnExhausted::Record,
            state,
            day,
            day_before,
            day_begins: row.try_get("begins")?,
            day_ends_in: duration(day_ends_in),
            usable_for: duration(usable_s),
        };
        Ok(Self { id: campaign_id(row.try_get("id")?)?, facts, money, usable_s })
    }

    fn room(&self, wanted: Nanos, new: &mut NewLeases) -> Room {
        if wanted <= Nanos::ZERO || self.facts.state != State::Running || self.money.price <= 0 {
            return Room::NotAsked;
        }
        match self.money.offer(wanted) {
            Offer::Amount(amount) => {
                let id = Uuid::now_v7().to_string();
                new.ids.push(id.clone());
                new.campaigns.push(self.id.get());
                new.days.push(self.facts.day);
                new.amounts.push(amount.get());
                new.seconds.push(self.usable_s + GUARD_S);
                Room::Lease(Lease { id, amount })
            }
            Offer::Exhausted { scope, retry_after } => Room::Exhausted { scope, retry_after },
            Offer::Paced { retry_after } => Room::Paced { retry_after },
        }
    }
}

fn state(terms: &Terms, starts_in: Option<f64>, ends_in: Option<f64>) -> State {
    match terms.status {
        Status::Draft => State::Draft,
        Status::Paused => State::Paused,
        Status::Ended => State::Ended,
        Status::Active if ends_in.is_some_and(|in_s| in_s <= 0.0) => State::Ended,
        Status::Active => match starts_in {
            Some(in_s) if in_s > 0.0 => State::Scheduled { in_s: seconds(in_s) },
            _ => State::Running,
        },
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}

/// Whole seconds, rounded up.
fn seconds(seconds: f64) -> u32 {
    u32::try_from(duration(seconds).as_secs().saturating_add(1)).unwrap_or(u32::MAX)
}

fn millis(seconds: f64) -> i64 {
    i64::try_from(duration(seconds).as_millis()).unwrap_or(i64::MAX)
}

/// The revisions of campaigns: one that has changed has other facts.
pub async fn revisions(store: &Store, campaigns: &[CampaignId]) -> Result<HashMap<CampaignId, i64>, Failure> {
    let ids: Vec<i64> = campaigns.iter().map(|campaign| campaign.get()).collect();
    let query = sqlx::query_as("SELECT id, revision FROM campaigns WHERE id = ANY($1)").bind(ids);
    let rows: Vec<(i64, i64)> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    rows.into_iter().map(|(id, revision)| Ok((campaign_id(id)?, revision))).collect()
}
