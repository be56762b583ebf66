//! Erases a user: its rows go, the sums stay.

use std::collections::{BTreeMap, BTreeSet};

use time::{Date, OffsetDateTime};

use super::terms_row::campaign_id;
use crate::ads::UserId;
use crate::cache::Fence;
use crate::store::{Class, Failure, Store, Tx, Work};

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The number of erased events.
    pub events: i64,
    /// In how many days of campaigns it had events.
    pub days: usize,
    /// The campaigns and days in which Redis may have ids of the user's impressions: those of its rows, and the present
    /// days of all campaigns that have a cap or had one lately, whose events may not be applied yet.
    pub sets: Vec<(i64, Date)>,
    /// The reports of these campaigns, with their new versions: they count their users otherwise.
    pub fences: Vec<Fence>,
}

/// Erases a user's events and days, and what was noted of its unsure impressions, and books their cost out: what was
/// spent stays spent. Events of the user that were accepted before have no effect any more. The reports of its campaigns
/// have new versions. If it fails, nothing is erased.
///
/// A user may have many rows. They are deleted before the lock is taken for which workers wait, in the same transaction,
/// and under the lock only those that arrived since, as
/// [a device's](crate::devices::queries::erase()). A worker that applies a repeat of a deleted event may deadlock with
/// it; after a few deadlocks the lock is taken first. If somebody else keeps a campaign of the user locked, it fails:
/// workers must not wait for that.
pub async fn erase_user(store: &Store, user: &UserId) -> Result<Erased, Failure> {
    let mut tried = 0;
    loop {
        match store.transact_without_limit(&Erasure { user, lock_first: tried == TRIES }).await {
            Err(Failure { class: Class::Again, .. }) if tried < TRIES => tried += 1,
            outcome => return outcome,
        }
    }
}

/// The failures after which the erasing transaction takes the lock first.
const TRIES: u32 = 2;

struct Erasure<'a> {
    user: &'a UserId,
    lock_first: bool,
}

/// No batch that began before the tombstone is still being applied after this, and the next one sees the tombstone.
const LOCK: &str = "LOCK TABLE ad_forgotten_users IN EXCLUSIVE MODE";
const EVENTS: &str = "
WITH gone AS (
  DELETE FROM ad_events WHERE user_id = $1 RETURNING campaign_id, event_id, cost, accepted_at
), noted AS (
  -- They name no user. Those of events that are not applied stay until they expire.
  DELETE FROM unsure_impressions AS u USING gone WHERE u.campaign_id = gone.campaign_id AND u.event_id = gone.event_id
)
SELECT campaign_id, sum(cost)::bigint, count(*), max(accepted_at) FROM gone GROUP BY campaign_id";
const DAYS: &str = "DELETE FROM ad_user_days WHERE user_id = $1 RETURNING campaign_id, day";
const TOMBSTONE: &str = "
INSERT INTO ad_forgotten_users AS f (user_id, forgotten_at) VALUES ($1, greatest(clock_timestamp(), $2))
ON CONFLICT (user_id) DO UPDATE SET forgotten_at = greatest(f.forgotten_at, excluded.forgotten_at)";
const CAMPAIGNS: &str = "SELECT id FROM campaigns WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
const BOOK_OUT: &str = "
UPDATE campaigns AS c SET booked_out = c.booked_out + gone.cost
FROM unnest($1::bigint[], $2::bigint[]) AS gone (campaign_id, cost) WHERE c.id = gone.campaign_id";
const REPORTS: &str = "
UPDATE campaigns SET report_version = report_version + 1, reported_at = statement_timestamp()
WHERE id = ANY($1) RETURNING id, report_version";

/// Yesterday, whose sets Redis still has, today, and tomorrow, which may begin meanwhile. A cap was in force until the
/// next change of its campaign.
const PRESENT_DAYS: &str = "
SELECT c.id, (now() AT TIME ZONE c.timezone)::date + ago
FROM campaigns AS c, generate_series(-1, 1) AS ago
WHERE c.cap IS NOT NULL OR EXISTS (
  SELECT FROM campaign_changes AS h
  WHERE h.campaign_id = c.id AND h.terms ->> 'freq_cap_impressions_per_day' IS NOT NULL
    AND coalesce((SELECT n.changed_at FROM campaign_changes AS n
                  WHERE n.campaign_id = h.campaign_id AND n.revision > h.revision ORDER BY n.revision LIMIT 1),
                 'infinity') > now() - interval '3 days')";

impl Work for Erasure<'_> {
    type Output = Erased;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Erased, Failure> {
        // Before the lock, for which workers wait.
        let mut sets: Vec<(i64, Date)> = sqlx::query_as(PRESENT_DAYS).fetch_all(&mut *tx).await?;
        let mut gone = Gone::default();
        if !self.lock_first {
            gone.delete(tx, self.user).await?;
        }
        sqlx::query(LOCK).execute(&mut *tx).await?;
        gone.delete(tx, self.user).await?;
        sqlx::query(TOMBSTONE).bind(self.user.as_str()).bind(gone.latest).execute(&mut *tx).await?;
        let of_days: BTreeSet<_> = gone.days.iter().map(|(campaign, _)| *campaign).collect();
        let campaigns: Vec<_> = of_days.iter().copied().collect();
        let (of_events, costs): (Vec<_>, Vec<_>) = gone.costs.into_iter().unzip();
        let locked: Vec<_> = of_days.into_iter().chain(of_events.iter().copied()).collect();
        sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *tx).await?;
        sqlx::query(CAMPAIGNS).bind(&locked).execute(&mut *tx).await?;
        sqlx::query(BOOK_OUT).bind(&of_events).bind(&costs).execute(&mut *tx).await?;
        let versions: Vec<(i64, i64)> = sqlx::query_as(REPORTS).bind(&campaigns).fetch_all(tx).await?;
        let mut fences = Vec::with_capacity(versions.len());
        for (campaign, version) in versions {
            fences.push((campaign_id(campaign)?.cache_key(), version));
        }
        sets.extend(&gone.days);
        Ok(Erased { events: gone.events, days: gone.days.len(), sets, fences })
    }
}

/// What was deleted so far.
#[derive(Default)]
struct Gone {
    events: i64,
    latest: Option<OffsetDateTime>,
    /// Of each campaign.
    costs: BTreeMap<i64, i64>,
    days: BTreeSet<(i64, Date)>,
}

impl Gone {
    async fn delete(&mut self, tx: &mut Tx<'_>, user: &UserId) -> Result<(), Failure> {
        let events = sqlx::query_as(EVENTS).bind(user.as_str());
        let events: Vec<(i64, i64, i64, Option<OffsetDateTime>)> = events.fetch_all(&mut *tx).await?;
        for (campaign, cost, count, latest) in events {
            // Less than what the campaign has spent, which is a bigint.
            *self.costs.entry(campaign).or_default() += cost;
            self.events += count;
            self.latest = self.latest.max(latest);
        }
        let days: Vec<(i64, Date)> = sqlx::query_as(DAYS).bind(user.as_str()).fetch_all(tx).await?;
        self.days.extend(days);
        Ok(())
    }
}
