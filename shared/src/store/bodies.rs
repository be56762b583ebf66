//! Reads what is to be cached.

use std::sync::Arc;

use sqlx::Row as _;

use super::{Failure, Store, Tx, within_deadline};

/// A thing that exists: its identifier, its version, and its body.
pub(crate) type Body = (Arc<str>, i64, String);

impl Store {
    /// Those of these things that exist, by a query of their kind: `$1` are the identifiers, and its columns are
    /// `read_only`, `id`, `version` and `body`.
    ///
    /// There has to be a row in any case, whose `read_only` says whether the server takes no writes: one that was set so
    /// under a connection of the pool may be the old side of a switchover. What it has, and that it has nothing, must not
    /// be cached.
    pub(crate) async fn bodies(&self, ids: &[Arc<str>], query: &'static str) -> Result<Vec<Body>, Failure> {
        within_deadline!(self, |tx| rows(tx, ids, query))
    }
}

async fn rows(tx: &mut Tx<'_>, ids: &[Arc<str>], query: &'static str) -> Result<Vec<Body>, Failure> {
    let texts: Vec<&str> = ids.iter().map(|id| &**id).collect();
    let rows = sqlx::query(query).bind(texts).fetch_all(tx).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get("read_only")? {
            return Err(Failure::read_only());
        }
        if let Some(id) = row.try_get::<Option<&str>, _>("id")? {
            all.push((id.into(), row.try_get("version")?, row.try_get("body")?));
        }
    }
    Ok(all)
}
