//! Closes leases: what their holders did not use is free again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::Row as _;

use super::locked::{IfLocked, Locking, lock, locking};
use super::terms_row::campaign_id;
use crate::ads::{CampaignId, Nanos};
use crate::store::{Failure, Store, Tx, Work, column, within_deadline};

/// The result of closing leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed {
    /// How many were closed, or made smaller.
    pub leases: u64,
    /// The money that is free again.
    pub freed: Nanos,
}

/// The result for several campaigns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// What was closed.
    pub closed: Closed,
    /// The leases of campaigns that somebody else has locked: they are as they were.
    pub locked: HashMap<CampaignId, Vec<String>>,
}

/// The leases that are open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenLeases {
    /// Their number.
    pub count: i64,
    /// The seconds since the end of the oldest one; 0 if none has ended.
    pub oldest_s: f64,
}

/// The leases that ended at least this long ago, the oldest first.
pub async fn expired_leases(store: &Store, ago: Duration, limit: u32) -> Result<Vec<String>, Failure> {
    let query = sqlx::query_scalar(
        "SELECT id FROM ad_leases WHERE expires_at <= now() - make_interval(secs => $1) ORDER BY expires_at LIMIT $2",
    );
    let query = query.bind(ago.as_secs_f64()).bind(i64::from(limit));
    within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })
}

/// Closes leases. Every event that they paid for must have been applied.
pub async fn close_leases(store: &Store, leases: &[String], if_locked: IfLocked) -> Result<Released, Failure> {
    let release = Release { leases: column!(leases, |id| id.as_str()), unspent: vec![None; leases.len()], if_locked };
    store.transact(&if_locked.first(store), &release).await
}

/// Takes back what never left the process of its holder. A lease that is unknown is closed already. After a failure it
/// must not be repeated, because the first call may have been committed: the money comes back when the lease ends.
pub async fn give_back(store: &Store, leases: &[(String, Nanos)], if_locked: IfLocked) -> Result<Released, Failure> {
    let unspent = column!(leases, |(_, unspent)| Some(unspent.get()));
    let release = Release { leases: column!(leases, |(id, _)| id.as_str()), unspent, if_locked };
    store.transact(&if_locked.first(store), &release).await
}

/// How many leases are open, and since when the oldest one has ended.
pub async fn open_leases(store: &Store) -> Result<OpenLeases, Failure> {
    let query = sqlx::query_as(
        "SELECT count(*), coalesce(greatest(extract(epoch FROM now() - min(expires_at)), 0), 0)::float8 FROM ad_leases",
    );
    let (count, oldest_s) = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    Ok(OpenLeases { count, oldest_s })
}

/// The result of checking the books of some campaigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The ids of those that break an invariant of money.
    pub broken: Vec<i64>,
    /// Where the next check begins; 0 after the last campaign.
    pub next: i64,
}

/// Checks the books of at most `most` campaigns whose ids are greater than `after`. CHECK constraints refuse what goes
/// over a budget; this also finds money that is reserved for no lease, and spending that no event explains.
pub async fn audit(store: &Store, after: i64, most: u32) -> Result<Audit, Failure> {
    const SQL: &str = "
    WITH asked AS (
      SELECT id, total_budget, spent, reserved FROM campaigns WHERE id > $1 ORDER BY id LIMIT $2
    ), open AS (
      SELECT campaign_id, day, sum(amount - settled) AS reserved FROM ad_leases
      WHERE campaign_id IN (SELECT id FROM asked) GROUP BY campaign_id, day
    ), days AS (
      SELECT d.campaign_id, sum(d.spent) AS spent, sum(d.reserved) AS reserved,
             bool_or(d.spent + d.reserved > d.budget OR d.reserved <> coalesce(open.reserved, 0)) AS broken
      FROM campaign_days AS d LEFT JOIN open USING (campaign_id, day)
      WHERE d.campaign_id IN (SELECT id FROM asked) GROUP BY d.campaign_id
    ), hours AS (
      SELECT campaign_id, sum(spend) AS spent FROM ad_stats
      WHERE campaign_id IN (SELECT id FROM asked) GROUP BY campaign_id
    )
    SELECT coalesce(array_agg(c.id ORDER BY c.id) FILTER (
        WHERE c.spent + c.reserved > c.total_budget OR coalesce(days.broken, false)
           OR c.spent <> coalesce(days.spent, 0) OR c.reserved <> coalesce(days.reserved, 0)
           OR c.spent <> coalesce(hours.spent, 0)), '{}'),
      CASE WHEN count(*) = $2 THEN max(c.id) ELSE 0 END
    FROM asked AS c LEFT JOIN days ON days.campaign_id = c.id LEFT JOIN hours ON hours.campaign_id = c.id";
    let query = sqlx::query_as(SQL).bind(after).bind(i64::from(most));
    let (broken, next) = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    Ok(Audit { broken, next })
}

/// The least id of a campaign that is greater than `after`.
pub async fn next_campaign(store: &Store, after: i64) -> Result<Option<i64>, Failure> {
    let query = sqlx::query_scalar("SELECT min(id) FROM campaigns WHERE id > $1").bind(after);
    within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })
}

const OF: &str = "SELECT id, campaign_id FROM ad_leases WHERE id = ANY($1)";
const LOCK: Locking = locking!("SELECT id FROM campaigns WHERE id = ANY($1) ORDER BY id");

/// `$2` has the money that comes back of each lease; NULL: all that its events did not use. A lease that is used up is
/// deleted.
const RELEASE: &str = "
WITH back AS (
  SELECT l.id, l.campaign_id, l.day, l.settled, l.amount - coalesce(given.unspent, l.amount - l.settled) AS amount,
         coalesce(given.unspent, l.amount - l.settled) AS freed
  FROM unnest($1::text[], $2::bigint[]) AS given (id, unspent) JOIN ad_leases AS l USING (id)
), sound AS (
  SELECT * FROM back WHERE amount >= settled AND freed >= 0
), gone AS (
  DELETE FROM ad_leases AS l USING sound WHERE l.id = sound.id AND sound.amount = sound.settled
), less AS (
  UPDATE ad_leases AS l SET amount = sound.amount FROM sound WHERE l.id = sound.id AND sound.amount > sound.settled
), days AS (
  UPDATE campaign_days AS d SET reserved = d.reserved - by_day.freed
  FROM (SELECT campaign_id, day, sum(freed)::bigint AS freed FROM sound GROUP BY campaign_id, day) AS by_day
  WHERE d.campaign_id = by_day.campaign_id AND d.day = by_day.day
), totals AS (
  UPDATE campaigns AS c SET reserved = c.reserved - by_campaign.freed
  FROM (SELECT campaign_id, sum(freed)::bigint AS freed FROM sound GROUP BY campaign_id) AS by_campaign
  WHERE c.id = by_campaign.campaign_id
)
SELECT count(*), coalesce(sum(freed), 0)::bigint FROM sound";

/// Takes money of leases back, under the locks of their campaigns.
struct Release<'a> {
    leases: Vec<&'a str>,
    unspent: Vec<Option<i64>>,
    if_locked: IfLocked,
}

impl Work for Release<'_> {
    type Output = Released;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Released, Failure> {
        if self.leases.is_empty() {
            return Ok(Released::default());
        }
        let of: Vec<(String, i64)> = sqlx::query_as(OF).bind(&self.leases).fetch_all(&mut *tx).await?;
        let campaigns: HashSet<i64> = of.iter().map(|(_, campaign)| *campaign).collect();
        let campaigns: Vec<i64> = campaigns.into_iter().collect();
        let locking = sqlx::query_scalar(self.if_locked.of(LOCK)).bind(campaigns);
        let own: HashSet<i64> = lock(tx, locking).await?.unwrap_or_default().into_iter().collect();
        let mut locked: HashMap<_, Vec<_>> = HashMap::new();
        for (lease, campaign) in of {
            if !own.contains(&campaign) {
                locked.entry(campaign_id(campaign)?).or_default().push(lease);
            }
        }
        let others: HashSet<&str> = locked.values().flatten().map(String::as_str).collect();
        let (leases, unspent): (Vec<&str>, Vec<Option<i64>>) =
            self.leases.iter().copied().zip(&self.unspent).filter(|(lease, _)| !others.contains(lease)).unzip();
        if own.is_empty() {
            return Ok(Released { locked, ..Released::default() });
        }
        let row = sqlx::query(RELEASE).bind(leases).bind(unspent).fetch_one(tx).await?;
        let (leases, freed): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let closed = Closed { leases: u64::try_from(leases).unwrap_or_default(), freed: Nanos::new(freed) };
        Ok(Released { closed, locked })
    }
}
