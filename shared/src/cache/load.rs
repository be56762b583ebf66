//! How bodies are read from PostgreSQL.

use std::sync::Arc;

use sqlx::Row as _;

use super::Loaded;
use crate::store::{Failure, Store, Tx, within_deadline};

/// Reads those of these things that exist, by a query of their kind: `$1` are the identifiers, and its columns are
/// `read_only`, `id`, `version` and `body`.
///
/// There has to be a row in any case, whose `read_only` says whether the server takes no writes: one that was set so
/// under a connection of the pool may be the old side of a switchover. What it has, and that it has nothing, must not be
/// cached.
///
/// # Errors
/// PostgreSQL away, or too slow, or it takes no writes.
pub async fn load(store: &Store, ids: &[Arc<str>], query: &'static str) -> Result<Vec<Loaded>, Failure> {
    within_deadline!(store, |tx| rows(tx, ids, query))
}

async fn rows(tx: &mut Tx<'_>, ids: &[Arc<str>], query: &'static str) -> Result<Vec<Loaded>, Failure> {
    let texts: Vec<&str> = ids.iter().map(|id| &**id).collect();
    let rows = sqlx::query(query).bind(texts).fetch_all(tx).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get("read_only")? {
            return Err(Failure::read_only());
        }
        if let Some(id) = row.try_get::<Option<&str>, _>("id")? {
            all.push(Loaded { id: id.into(), version: row.try_get("version")?, body: row.try_get("body")? });
        }
    }
    Ok(all)
}
