//! The incarnations of the Redis that holds the caps. What a server forgot, it forgot between two of them.

use std::time::Duration;

use time::OffsetDateTime;

use crate::store::{Failure, Store, within_deadline};

/// An incarnation of a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its number.
    pub serial: i64,
    /// When an instance first met it.
    pub seen_at: OffsetDateTime,
    /// Whether every event that was accepted before that has been applied: then PostgreSQL knows what Redis may have
    /// forgotten.
    pub is_proven: bool,
}

/// Notes an incarnation, or returns what is known of it.
pub async fn note_incarnation(store: &Store, id: &str) -> Result<Incarnation, Failure> {
    // Looked up first: an insert that meets a conflict would use up a number each time.
    const KNOWN: &str = "SELECT serial, seen_at, proven_at IS NOT NULL FROM redis_incarnations WHERE id = $1";
    const NEW: &str = "INSERT INTO redis_incarnations (id) VALUES ($1) ON CONFLICT (id) DO NOTHING";
    let row: (i64, OffsetDateTime, bool) = within_deadline!(store, |tx| async {
        if let Some(known) = sqlx::query_as(KNOWN).bind(id).fetch_optional(&mut *tx).await? {
            return Ok(known);
        }
        sqlx::query(NEW).bind(id).execute(&mut *tx).await?;
        Ok(sqlx::query_as(KNOWN).bind(id).fetch_one(tx).await?)
    })?;
    let (serial, seen_at, is_proven) = row;
    Ok(Incarnation { serial, seen_at, is_proven })
}

/// The incarnations that were first met at least this long ago, and are not proven.
pub async fn unproven(store: &Store, ago: Duration) -> Result<Vec<i64>, Failure> {
    let query = sqlx::query_scalar(
        "SELECT serial FROM redis_incarnations
         WHERE proven_at IS NULL AND seen_at <= now() - make_interval(secs => $1) ORDER BY serial",
    );
    let query = query.bind(ago.as_secs_f64());
    within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })
}

/// Notes that every event that was accepted before these incarnations were met has been applied.
pub async fn prove(store: &Store, serials: &[i64]) -> Result<(), Failure> {
    let query =
        sqlx::query("UPDATE redis_incarnations SET proven_at = now() WHERE serial = ANY($1) AND proven_at IS NULL");
    let query = query.bind(serials);
    within_deadline!(store, |tx| async { Ok(query.execute(tx).await.map(drop)?) })
}
