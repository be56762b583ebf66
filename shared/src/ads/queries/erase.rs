//! Erases a user: its rows go, the sums stay.

use super::terms_row::campaign_id;
use crate::ads::UserId;
use crate::cache::Fence;
use crate::store::{Failure, Store, Tx, Work};

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The number of erased events.
    pub events: i64,
    /// In how many days of campaigns it had events.
    pub days: usize,
    /// The campaigns and days in which Redis may have ids of the user's impressions: those of its rows, and the present
    /// days of all campaigns with a cap, whose events may not be applied yet.
    pub sets: Vec<(i64, time::Date)>,
    /// The reports of these campaigns, with their new versions: they count their users otherwise.
    pub fences: Vec<Fence>,
}

/// Erases a user's events and days, and books their cost out: what was spent stays spent. Events of the user that were
/// accepted before have no effect any more. The reports of its campaigns have new versions. If it fails, nothing is
/// erased.
pub async fn erase_user(store: &Store, user: &UserId) -> Result<Erased, Failure> {
    store.transact_without_limit(&Erasure(user)).await
}

struct Erasure<'a>(&'a UserId);

const EVENTS: &str = "
WITH gone AS (DELETE FROM ad_events WHERE user_id = $1 RETURNING campaign_id, cost),
costs AS (SELECT campaign_id, sum(cost)::bigint AS cost FROM gone GROUP BY campaign_id),
booked AS (UPDATE campaigns AS c SET booked_out = c.booked_out + costs.cost FROM costs WHERE c.id = costs.campaign_id)
SELECT count(*) FROM gone";

/// Yesterday, whose sets Redis still has, today, and tomorrow, which may begin meanwhile.
const PRESENT_DAYS: &str = "
SELECT c.id, (now() AT TIME ZONE c.timezone)::date + ago
FROM campaigns AS c, generate_series(-1, 1) AS ago
WHERE c.cap IS NOT NULL OR EXISTS (
  SELECT FROM campaign_changes AS h
  WHERE h.campaign_id = c.id AND h.changed_at > now() - interval '3 days'
    AND h.terms ->> 'freq_cap_impressions_per_day' IS NOT NULL)";

impl Work for Erasure<'_> {
    type Output = Erased;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Erased, Failure> {
        let user = self.0.as_str();
        // Before the lock, for which workers wait.
        let mut sets: Vec<(i64, time::Date)> = sqlx::query_as(PRESENT_DAYS).fetch_all(&mut *tx).await?;
        // No batch that began before the tombstone is still being applied, and the next one sees it.
        sqlx::query("LOCK TABLE ad_forgotten_users IN EXCLUSIVE MODE").execute(&mut *tx).await?;
        sqlx::query(
            "INSERT INTO ad_forgotten_users AS f (user_id, forgotten_at)
             SELECT $1, greatest(clock_timestamp(), max(accepted_at)) FROM ad_events WHERE user_id = $1
             ON CONFLICT (user_id) DO UPDATE SET forgotten_at = greatest(f.forgotten_at, excluded.forgotten_at)",
        )
        .bind(user)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "SELECT id FROM campaigns WHERE id IN (SELECT campaign_id FROM ad_user_days WHERE user_id = $1)
             ORDER BY id FOR NO KEY UPDATE",
        )
        .bind(user)
        .execute(&mut *tx)
        .await?;
        let versions: Vec<(i64, i64)> = sqlx::query_as(
            "UPDATE campaigns SET report_version = report_version + 1, reported_at = statement_timestamp()
             WHERE id IN (SELECT campaign_id FROM ad_user_days WHERE user_id = $1) RETURNING id, report_version",
        )
        .bind(user)
        .fetch_all(&mut *tx)
        .await?;
        let mut fences = Vec::with_capacity(versions.len());
        for (campaign, version) in versions {
            fences.push((campaign_id(campaign)?.cache_key(), version));
        }
        let events = sqlx::query_scalar(EVENTS).bind(user).fetch_one(&mut *tx).await?;
        let days = sqlx::query_as("DELETE FROM ad_user_days WHERE user_id = $1 RETURNING campaign_id, day");
        let days: Vec<_> = days.bind(user).fetch_all(tx).await?;
        sets.extend(&days);
        Ok(Erased { events, days: days.len(), sets, fences })
    }
}
