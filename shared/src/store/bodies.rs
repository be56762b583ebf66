//! Reads what is to be cached.

use std::sync::Arc;

use sqlx::Row as _;

use super::{Failure, Store, Tx, within_deadline};

/// What PostgreSQL has for a thing that is cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its identifier among those of its kind.
    pub id: Arc<str>,
    /// Its version, which only grows.
    pub version: i64,
    /// The JSON body of the answer, which starts with `{"version":N,`.
    pub body: String,
}

impl Store {
    /// Reads those of these things that exist, by a query of their kind: `$1` are the identifiers, and its columns are
    /// `read_only`, `id`, `version` and `body`.
    ///
    /// There has to be a row in any case, whose `read_only` says whether the server takes no writes: one that was set so
    /// under a connection of the pool may be the old side of a switchover. What it has, and that it has nothing, must not
    /// be cached.
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
