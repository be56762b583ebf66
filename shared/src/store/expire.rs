//! Deletes rows after their retention, in pieces.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::{Failure, Store, Tx, Work};

/// A piece of the rows of a table that are older than this, by one of its columns.
pub(crate) struct Piece {
    pub(crate) table: &'static str,
    pub(crate) time: &'static str,
    pub(crate) older_than: Duration,
    pub(crate) rows: u32,
}

impl Piece {
    /// Deletes them. One worker at a time: `None` if another one is doing it.
    pub(crate) async fn delete(&self, store: &Store) -> Result<Option<u64>, Failure> {
        store.transact("", self).await
    }
}

const TURN: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($1 || '.expire', 0))";

impl Work for Piece {
    type Output = Option<u64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<u64>, Failure> {
        let Self { table, time, older_than, rows } = self;
        if !sqlx::query_scalar(TURN).bind(table).fetch_one(&mut *tx).await? {
            return Ok(None);
        }
        let delete = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY (
               SELECT ctid FROM {table} WHERE {time} < now() - make_interval(secs => $1) LIMIT $2))"
        );
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(older_than.as_secs_f64()).bind(i64::from(*rows));
        Ok(Some(delete.execute(tx).await?.rows_affected()))
    }
}
