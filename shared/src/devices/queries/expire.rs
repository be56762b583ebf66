//! Deletes events after their retention, a piece at a time, the oldest first.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::store::{Failure, Store, Tx, within_deadline};

/// Which rows, and by which of their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// By when PostgreSQL wrote the row. When an event was accepted or appended is somebody else's word, and a row
    /// that goes too early lets its record count again.
    Written,
    /// Rows of before migration 0004, which have no time of writing, by their append.
    Appended,
}

/// What became of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expired {
    /// Another worker is at it.
    Elsewhere,
    /// This many rows were deleted.
    Rows {
        /// None where nothing is old enough.
        rows: u64,
        /// Whether more are old enough already.
        more: bool,
        /// For how long the oldest of these has been old enough, at most. None where that is no finite time.
        behind: Option<Duration>,
    },
}

/// The rows of one age, and the index in the order of their time.
struct Rows {
    /// The name of its row in `event_expiry`.
    age: &'static str,
    index: &'static str,
    time: &'static str,
    condition: &'static str,
}

const WRITTEN: Rows =
    Rows { age: "written", index: "events_written", time: "recorded_at", condition: "recorded_at IS NOT NULL" };
const APPENDED: Rows =
    Rows { age: "appended", index: "events_appended", time: "appended_at", condition: "recorded_at IS NULL" };

impl Rows {
    /// The first and the last time of the next rows, and how many they are: one range of the index, and of the table
    /// only what vacuum has not yet marked as visible to all.
    fn next(&self) -> AssertSqlSafe<String> {
        let Self { time, condition, .. } = self;
        AssertSqlSafe(format!(
            "SELECT min(at)::text, max(at)::text, count(*), CASE WHEN isfinite(max(at)) THEN
               extract(epoch FROM now() - make_interval(secs => $1) - max(at))::float8 END
             FROM (SELECT {time} AS at FROM events
                   WHERE {condition} AND {time} >= $2::text::timestamptz AND {time} < now() - make_interval(secs => $1)
                   ORDER BY {time} LIMIT $3) AS next"
        ))
    }

    /// Deletes what lies between two times, read once, in the order of the index: before the last one, or up to it.
    fn delete(&self, up_to: &str) -> AssertSqlSafe<String> {
        let Self { time, condition, .. } = self;
        AssertSqlSafe(format!(
            "DELETE FROM events WHERE {condition} AND {time} >= $1::text::timestamptz AND {time} {up_to} $2::text::timestamptz"
        ))
    }

    /// Some of the rows with one and the same time: more were written in one transaction than fit a piece.
    fn delete_at(&self) -> AssertSqlSafe<String> {
        let Self { time, condition, .. } = self;
        AssertSqlSafe(format!(
            "DELETE FROM events WHERE ctid = ANY (ARRAY (
               SELECT ctid FROM events WHERE {condition} AND {time} = $1::text::timestamptz LIMIT $2))"
        ))
    }
}

/// A row behind the position can only come from a server whose clock was set back, or from another database. Noted
/// before it is tried: if all that is gone cannot be looked through in time, that is not tried again and again. Not by a
/// worker whose turn it is not, which would not try it.
const REWIND: &str = "
UPDATE event_expiry SET rewound_at = now() WHERE age = $1
  AND CASE WHEN rewound_at < now() - interval '1 hour'
      THEN pg_try_advisory_xact_lock(hashtextextended('events.prune', 0)) ELSE false END RETURNING true";
/// It could not be tried, since it was another worker's turn by then.
const REWIND_LATER: &str = "UPDATE event_expiry SET rewound_at = '-infinity' WHERE age = $1";

/// How to plan: the planner's statistics of a table that is written and expired all day are behind, and a plan that
/// sorts reads all that is old enough for each piece. Times go to and fro as text, because PostgreSQL's may be infinite.
const PLANNING: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; \
    SET LOCAL datestyle = 'ISO'";
/// Whose turn it is, and whether the index is there. The lock ends with the transaction.
const TURN: &str = "
SELECT pg_try_advisory_xact_lock(hashtextextended('events.prune', 0)),
       EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid)";

const POSITION: &str = "SELECT position::text FROM event_expiry WHERE age = $1";
const ADVANCE: &str = "UPDATE event_expiry SET position = $2::text::timestamptz WHERE age = $1";

/// Deletes about `piece` rows that are older than this, the oldest first, behind those that are gone already. Of
/// several workers one at a time does it.
///
/// The log keeps a record as long as its append is not longer ago, which comes before. (One that is redriven after
/// that is recognised by its position.) Without its index it deletes nothing, and says so.
pub async fn expire(store: &Store, age: Age, older_than: Duration, piece: u32) -> Result<Expired, Failure> {
    let rows = match age {
        Age::Written => WRITTEN,
        Age::Appended => APPENDED,
    };
    let due = sqlx::query_scalar(REWIND).bind(rows.age);
    let due: Option<bool> = within_deadline!(store, |tx| async { Ok(due.fetch_optional(tx).await?) })?;
    let rewinds = due.is_some();
    within_deadline!(store, Some(PLANNING), |tx| expire_piece(tx, &rows, older_than, rewinds, piece))
}

async fn expire_piece(
    session: &mut Tx<'_>,
    rows: &Rows,
    older_than: Duration,
    rewinds: bool,
    piece: u32,
) -> Result<Expired, Failure> {
    let (mine, has_index): (bool, bool) = sqlx::query_as(TURN).bind(rows.index).fetch_one(&mut *session).await?;
    if !mine {
        if rewinds {
            sqlx::query(REWIND_LATER).bind(rows.age).execute(session).await?;
        }
        return Ok(Expired::Elsewhere);
    }
    if !has_index {
        return Err(Failure::away(format!("the index {} is missing: run `worker-service setup`", rows.index)));
    }
    let position: Option<String> = sqlx::query_scalar(POSITION).bind(rows.age).fetch_optional(&mut *session).await?;
    let from = position.filter(|_| !rewinds).unwrap_or_else(|| "-infinity".to_owned());
    // Planned anew each time, for these very bounds: a plan for any bounds does not know how few rows lie between.
    let next = sqlx::query_as(rows.next()).persistent(false);
    let (first, last, found, behind): (Option<String>, Option<String>, i64, Option<f64>) =
        next.bind(older_than.as_secs_f64()).bind(from).bind(i64::from(piece)).fetch_one(&mut *session).await?;
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(Expired::Rows { rows: 0, more: false, behind: Some(Duration::ZERO) });
    };
    let more = found >= i64::from(piece);
    let delete = if !more {
        sqlx::query(rows.delete("<=")).bind(&first).bind(&last)
    } else if first == last {
        sqlx::query(rows.delete_at()).bind(&first).bind(i64::from(piece))
    } else {
        sqlx::query(rows.delete("<")).bind(&first).bind(&last)
    };
    let deleted = delete.persistent(false).execute(&mut *session).await?.rows_affected();
    sqlx::query(ADVANCE).bind(rows.age).bind(&last).execute(&mut *session).await?;
    // What is left is not older than the last one.
    let behind = if more {
        behind.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
    } else {
        Some(Duration::ZERO)
    };
    Ok(Expired::Rows { rows: deleted, more, behind })
}
