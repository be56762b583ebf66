//! The incarnations of the Redis that holds the caps. What a server forgot, it forgot between two of them.

use std::time::Duration;

use time::OffsetDateTime;

use crate::store::{Failure, Store, Tx, Work, within_deadline};

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

/// Notes an incarnation, or returns what is known of it. `over` is a serial that it had before it was over, if the caller
/// knows that: its counters began anew.
///
/// Of a server's term only the last incarnation may be met. One that another one has followed, or that is over, is never
/// returned again: if its id comes back, it is a new one.
pub async fn note_incarnation(store: &Store, id: &str, over: Option<i64>) -> Result<Incarnation, Failure> {
    let known = within_deadline!(store, |tx| known(tx, id))?;
    match known.filter(|known| Some(known.serial) != over) {
        Some(known) => Ok(known),
        None => store.transact("", &New { id, over }).await,
    }
}

struct New<'a> {
    id: &'a str,
    over: Option<i64>,
}

/// One at a time, so that of two the second one sees the first.
const TURN: &str = "SELECT pg_advisory_xact_lock(hashtextextended('redis_incarnations', 0))";
/// Nobody meets these ids, because no server has a space in its own. `$2` is the server and its term.
const RETIRE: &str = "
UPDATE redis_incarnations SET id = id || ' ' || serial
WHERE starts_with(id, $2 || ':') AND id NOT LIKE '% %' AND (id <> $1 OR serial = $3)";
const KNOWN: &str = "SELECT serial, seen_at, proven_at IS NOT NULL FROM redis_incarnations WHERE id = $1";

impl Work for New<'_> {
    type Output = Incarnation;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Incarnation, Failure> {
        let Self { id, over } = *self;
        sqlx::query(TURN).execute(&mut *tx).await?;
        sqlx::query(RETIRE).bind(id).bind(server_and_term(id)).bind(over).execute(&mut *tx).await?;
        if let Some(known) = known(tx, id).await? {
            return Ok(known);
        }
        sqlx::query("INSERT INTO redis_incarnations (id) VALUES ($1)").bind(id).execute(&mut *tx).await?;
        known(tx, id).await?.ok_or_else(|| Failure::failed("an incarnation that was just noted is not there"))
    }
}

async fn known(tx: &mut Tx<'_>, id: &str) -> Result<Option<Incarnation>, Failure> {
    let row: Option<(i64, OffsetDateTime, bool)> = sqlx::query_as(KNOWN).bind(id).fetch_optional(tx).await?;
    Ok(row.map(|(serial, seen_at, is_proven)| Incarnation { serial, seen_at, is_proven }))
}

/// The server and its term in the id of an incarnation: what it evicted, and its other parts, come after them.
pub fn server_and_term(incarnation: &str) -> &str {
    let end = incarnation.match_indices(':').nth(1).map_or(incarnation.len(), |(at, _)| at);
    incarnation.get(..end).unwrap_or(incarnation)
}

/// Whether an instance has met some Redis, but never one of these servers in its present term: then the caps are counted
/// in another one, or it was started or promoted since, and no instance has met it yet.
pub async fn are_unmet(store: &Store, incarnations: &[&str]) -> Result<bool, Failure> {
    let servers: Vec<_> = incarnations.iter().map(|id| server_and_term(id)).collect();
    let query = sqlx::query_scalar(
        "SELECT count(*) > 0 AND NOT coalesce(bool_or(EXISTS (
           SELECT FROM unnest($1::text[]) AS server WHERE starts_with(id, server || ':'))), false)
         FROM redis_incarnations",
    );
    let query = query.bind(servers);
    within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })
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
