//! Deletes events after their retention, in pieces. The sums stay.

use std::time::Duration;

use crate::store::{Failure, Store, Tx, Work, within_deadline};

/// One worker at a time. The campaigns are locked before their money is booked out.
const TURN: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended('ad_events.expire', 0))";
const PIECE: &str = "
SELECT campaign_id FROM (
  SELECT campaign_id FROM ad_events WHERE recorded_at < now() - make_interval(secs => $1) LIMIT $2
) AS old GROUP BY campaign_id ORDER BY campaign_id";
const LOCK: &str = "SELECT id FROM campaigns WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
const DELETE: &str = "
WITH old AS (
  SELECT ctid FROM ad_events
  WHERE campaign_id = ANY($3) AND recorded_at < now() - make_interval(secs => $1) LIMIT $2
), gone AS (
  DELETE FROM ad_events WHERE ctid = ANY (ARRAY (SELECT ctid FROM old)) RETURNING campaign_id, cost
), costs AS (
  SELECT campaign_id, sum(cost)::bigint AS cost FROM gone GROUP BY campaign_id
), booked AS (
  UPDATE campaigns AS c SET booked_out = c.booked_out + costs.cost FROM costs WHERE c.id = costs.campaign_id
)
SELECT count(*) FROM gone";

/// A repeat is looked up while the cap of its day holds.
const UNSURE: &str = "
DELETE FROM unsure_impressions WHERE ctid = ANY (ARRAY (
  SELECT ctid FROM unsure_impressions WHERE taken_at < now() - interval '3 days' LIMIT $1
  FOR UPDATE SKIP LOCKED))";

/// Deletes up to `piece` rows of impressions that were taken unsure days ago. Returns their number.
pub async fn expire_unsure(store: &Store, piece: u32) -> Result<u64, Failure> {
    let delete = sqlx::query(UNSURE).bind(i64::from(piece));
    within_deadline!(store, |tx| async { Ok(delete.execute(tx).await?.rows_affected()) })
}

/// Deletes up to `piece` events that were written longer ago than this; `None` if another worker is doing it.
pub async fn expire(store: &Store, older_than: Duration, piece: u32) -> Result<Option<u64>, Failure> {
    store.transact("", &Piece { seconds: older_than.as_secs_f64(), rows: piece.into() }).await
}

struct Piece {
    seconds: f64,
    rows: i64,
}

impl Work for Piece {
    type Output = Option<u64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<u64>, Failure> {
        if !sqlx::query_scalar(TURN).fetch_one(&mut *tx).await? {
            return Ok(None);
        }
        let piece = sqlx::query_scalar(PIECE).bind(self.seconds).bind(self.rows);
        let campaigns: Vec<i64> = piece.fetch_all(&mut *tx).await?;
        if campaigns.is_empty() {
            return Ok(Some(0));
        }
        sqlx::query(LOCK).bind(&campaigns).execute(&mut *tx).await?;
        let delete = sqlx::query_scalar(DELETE).bind(self.seconds).bind(self.rows).bind(&campaigns);
        let deleted: i64 = delete.fetch_one(tx).await?;
        Ok(Some(u64::try_from(deleted).unwrap_or_default()))
    }
}
