//! Reads a resource, rendered as the body that a client and the cache get.

use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::cache::Loaded;
use crate::devices::DeviceId;
use crate::store::{Failure, Store, Tx, within_deadline};

/// The one place that says how a resource looks: reader and worker use it alike, so that equal
/// versions are equal bytes. Identifiers need no escaping: their characters allow none.
///
/// There is always a row, which says whether the server takes writes: one that was set to read-only under a connection
/// of the pool may be the old side of a switchover. What it has, and that it has nothing, must not be cached.
const SQL: &str = r#"SELECT read_only, id, version,
        '{"version":' || version || ',"id":"' || id || '","payload":' || payload::text
        || ',"event_id":"' || event_id
        || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '"}' AS body
    FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
    LEFT JOIN resources ON id = ANY($1)"#;

/// The resource of a device, if there is one.
///
/// # Errors
/// PostgreSQL away, or too slow.
pub async fn resource(store: &Store, id: &DeviceId) -> Result<Option<Loaded>, Failure> {
    let loaded = load(store, &[Arc::clone(id.cache_key().id())]).await?;
    Ok(loaded.into_iter().next())
}

/// Those of these resources that exist.
///
/// # Errors
/// PostgreSQL away, or too slow.
pub async fn load(store: &Store, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    within_deadline!(store, |tx| many(tx, ids))
}

async fn many(tx: &mut Tx<'_>, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    let texts: Vec<&str> = ids.iter().map(|id| &**id).collect();
    let rows = sqlx::query(SQL).bind(texts).fetch_all(tx).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(id) = found(row)? {
            all.push(loaded(id, row)?);
        }
    }
    Ok(all)
}

/// The id in a row, if a resource was found; an error where the server takes no writes.
fn found(row: &PgRow) -> Result<Option<&str>, Failure> {
    if row.try_get("read_only")? {
        return Err(Failure::read_only());
    }
    Ok(row.try_get("id")?)
}

fn loaded(id: &str, row: &PgRow) -> Result<Loaded, sqlx::Error> {
    Ok(Loaded { id: id.into(), version: row.try_get("version")?, body: row.try_get("body")? })
}
