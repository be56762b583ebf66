//! Deletes events after their retention, in pieces, the oldest first.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::store::{Failure, Store, Tx, within_deadline};

/// Which rows to expire, and by which of their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// By the time at which PostgreSQL wrote the row. The times of acceptance and append come from other clocks, and if
    /// a row is deleted too early, its record can be applied again.
    Written,
    /// Rows written before migration 0004, which lack that time, by their append time.
    Appended,
}

/// The result of expiring a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expired {
    /// Another worker is doing it.
    Elsewhere,
    /// Rows were deleted.
    Rows {
        /// The number of deleted rows; 0 if none is old enough.
        rows: u64,
        /// Whether more are old enough already.
        more: bool,
        /// For how long the oldest remaining row has been old enough, at most. `None` if its time is infinite.
        behind: Option<Duration>,
    },
}

/// The rows of one [`Age`], and the index on their time.
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
    /// The first and the last time of the next rows, and their number. It reads one range of the index, and only those
    /// pages of the table that vacuum has not yet marked as all-visible.
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

    /// Deletes the rows between two times, in the order of the index: excluding (`<`) or including (`<=`) the last one.
    fn delete(&self, up_to: &str) -> AssertSqlSafe<String> {
        let Self { time, condition, .. } = self;
        AssertSqlSafe(format!(
            "DELETE FROM events WHERE {condition} AND {time} >= $1::text::timestamptz AND {time} {up_to} $2::text::timestamptz"
        ))
    }

    /// Deletes some of the rows with the same time: one transaction wrote more rows than a piece has.
    fn delete_at(&self) -> AssertSqlSafe<String> {
        let Self { time, condition, .. } = self;
        AssertSqlSafe(format!(
            "DELETE FROM events WHERE (device_id, event_id) IN (
               SELECT device_id, event_id FROM events WHERE {condition} AND {time} = $1::text::timestamptz LIMIT $2)"
        ))
    }
}

/// The expiry starts again from the beginning once an hour. A row before the position can only come from a server whose
/// clock was set back, or from another database. The time is stored before the attempt, so that an attempt that times
/// out on the deleted index entries is not repeated at once. Only the worker that has the lock does this.
const IS_REWIND_DUE: &str = "SELECT rewound_at < now() - interval '1 hour' FROM event_expiry WHERE age = $1";
const REWIND: &str = "
UPDATE event_expiry SET rewound_at = now() WHERE age = $1 AND rewound_at < now() - interval '1 hour'";
/// Makes [`REWIND`] due again, if another worker had the lock by then.
const REWIND_LATER: &str = "UPDATE event_expiry SET rewound_at = '-infinity' WHERE age = $1";

/// Planner settings. The statistics of a table that is written and expired all day are out of date, and a plan with a
/// sort would read all expired rows for each piece. Times are passed as text, because PostgreSQL's may be infinite.
const PLANNING: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; \
    SET LOCAL datestyle = 'ISO'";
/// Tries to take the lock of the expiry, which ends with the transaction. A statement of its own: in the condition of
/// another one it would be a volatile function, which not every distributed PostgreSQL runs.
const TURN: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended('events.prune', 0))";
const HAS_INDEX: &str = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid)";

const POSITION: &str = "SELECT position::text FROM event_expiry WHERE age = $1";
const ADVANCE: &str = "UPDATE event_expiry SET position = $2::text::timestamptz WHERE age = $1";

/// Deletes about `piece` rows that are older than `older_than`, the oldest first, from the stored position on. Only one
/// worker at a time does it.
///
/// A record is appended before its row is written, so it has left a log with this retention by the time its row
/// expires. (A record that is redriven after that is recognised by its position.) Without its index this deletes
/// nothing, and fails.
pub async fn expire(store: &Store, age: Age, older_than: Duration, piece: u32) -> Result<Expired, Failure> {
    let rows = match age {
        Age::Written => WRITTEN,
        Age::Appended => APPENDED,
    };
    let is_due = sqlx::query_scalar(IS_REWIND_DUE).bind(rows.age);
    let is_due: Option<bool> = within_deadline!(store, |tx| async { Ok(is_due.fetch_optional(tx).await?) })?;
    let rewinds = is_due == Some(true) && within_deadline!(store, Some(""), |tx| rewind(tx, rows.age))?;
    within_deadline!(store, Some(PLANNING), |tx| expire_piece(tx, &rows, older_than, rewinds, piece))
}

/// Whether this worker starts again from the beginning.
async fn rewind(session: &mut Tx<'_>, age: &str) -> Result<bool, Failure> {
    let mine: bool = sqlx::query_scalar(TURN).fetch_one(&mut *session).await?;
    Ok(mine && sqlx::query(REWIND).bind(age).execute(session).await?.rows_affected() > 0)
}

async fn expire_piece(
    session: &mut Tx<'_>,
    rows: &Rows,
    older_than: Duration,
    rewinds: bool,
    piece: u32,
) -> Result<Expired, Failure> {
    let mine: bool = sqlx::query_scalar(TURN).fetch_one(&mut *session).await?;
    if !mine {
        if rewinds {
            sqlx::query(REWIND_LATER).bind(rows.age).execute(session).await?;
        }
        return Ok(Expired::Elsewhere);
    }
    let has_index: bool = sqlx::query_scalar(HAS_INDEX).bind(rows.index).fetch_one(&mut *session).await?;
    if !has_index {
        return Err(Failure::away(format!("the index {} is missing: run `worker-service setup`", rows.index)));
    }
    let position: Option<String> = sqlx::query_scalar(POSITION).bind(rows.age).fetch_optional(&mut *session).await?;
    let from = position.filter(|_| !rewinds).unwrap_or_else(|| "-infinity".to_owned());
    // Not a prepared statement: a plan for these exact bounds knows how few rows they contain; a generic plan does not.
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
    // The remaining rows are not older than the last one of this piece.
    let behind = if more {
        behind.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
    } else {
        Some(Duration::ZERO)
    };
    Ok(Expired::Rows { rows: deleted, more, behind })
}
