//! Reads bodies for the cache.

use std::sync::Arc;

use sqlx::Row as _;

use super::{Failure, Store, Tx, within_deadline};

/// A cached resource's body, as read from PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its identifier, unique within its kind.
    pub id: Arc<str>,
    /// Its version, which only grows.
    pub version: i64,
    /// The JSON body of the HTTP response, which starts with `{"version":N,`.
    pub body: String,
}

impl Store {
    /// Reads the resources with these identifiers that exist. `query` is the query of their kind: `$1` has the
    /// identifiers, and the columns are `read_only`, `id`, `version` and `body`.
    ///
    /// The query must always return a row, whose `read_only` says whether the server refuses writes: a server that
    /// became read-only while the pool was connected may be the old side of a switchover. Its rows, or their absence,
    /// must not be cached.
    pub async fn load(&self, ids: &[Arc<str>], query: &'static str) -> Result<Vec<Loaded>, Failure> {
        within_deadline!(self, |tx| rows(tx, ids, query))
    }
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
