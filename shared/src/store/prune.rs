//! Forgets what happened long ago, a piece at a time.

use std::time::Duration;

use super::{Store, StoreError, within_deadline};

/// Rows of one piece: small enough to be gone in well under a second.
pub const PRUNE_ROWS: i64 = 5_000;

impl Store {
    /// Deletes some of the events that were written here longer ago than this, and tells how many. When one was
    /// accepted or appended is somebody else's word, and a row that goes too early lets its record count again; this
    /// is PostgreSQL's own clock. The log keeps a record as long as its append is not longer ago, which comes before.
    /// (One that is redriven after that is recognised by its position.) Of several workers one at a time does it; for
    /// the others there is nothing to do.
    ///
    /// # Errors
    /// PostgreSQL away, or too slow.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, StoreError> {
        // The lock is the statement's own transaction's, and goes with it.
        // Rows from before the column count by their append: each part has an index of its own.
        let query = sqlx::query(
            "DELETE FROM events WHERE ctid = ANY (ARRAY (
               (SELECT ctid FROM events WHERE recorded_at < now() - make_interval(secs => $1) LIMIT $2)
               UNION ALL
               (SELECT ctid FROM events WHERE recorded_at IS NULL
                AND appended_at < now() - make_interval(secs => $1) LIMIT $2)
               LIMIT $2
             )) AND pg_try_advisory_xact_lock(hashtextextended('events.prune', 0))",
        );
        let query = query.bind(older_than.as_secs_f64()).bind(PRUNE_ROWS);
        within_deadline!(self, |session| async { Ok(query.execute(session).await?.rows_affected()) })
    }
}
