//! Reads a resource, rendered as the body that a client and the cache get.

use sqlx::Row;

use super::session::Session;
use super::{Store, StoreError, within_deadline};
use crate::event::DeviceId;

/// A resource as the JSON body of `GET /resource/{id}`: it starts with `{"version":N,`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The resource.
    pub id: DeviceId,
    /// The number of events applied.
    pub version: i64,
    /// The body.
    pub body: String,
}

/// The one place that says how a resource looks: reader and worker use it alike, so that equal
/// versions are equal bytes. Identifiers need no escaping: their characters allow none.
///
/// There is always a row, which says whether the server takes writes: one that was set to read-only under a connection
/// of the pool may be the old side of a switchover. What it has, and that it has nothing, must not be cached.
macro_rules! rendered {
    ($tail:literal) => {
        concat!(
            r#"SELECT read_only, id, version,
                '{"version":' || version || ',"id":"' || id || '","payload":' || payload::text
                || ',"event_id":"' || event_id
                || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                || '"}' AS body
            FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
            LEFT JOIN resources ON "#,
            $tail
        )
    };
}

impl Store {
    /// The resource, if there is one.
    ///
    /// # Errors
    /// PostgreSQL away, or too slow.
    pub async fn resource(&self, id: &DeviceId) -> Result<Option<Rendered>, StoreError> {
        within_deadline!(self, |session| one(session, id))
    }

    /// Those of these resources that exist.
    ///
    /// # Errors
    /// PostgreSQL away, or too slow.
    pub async fn resources(&self, ids: &[DeviceId]) -> Result<Vec<Rendered>, StoreError> {
        within_deadline!(self, |session| many(session, ids))
    }
}

async fn one(session: &mut Session<'_>, id: &DeviceId) -> Result<Option<Rendered>, StoreError> {
    let row = sqlx::query(rendered!("id = $1")).bind(id.as_str()).fetch_one(session).await?;
    let is_there = found(&row)?.is_some();
    Ok(is_there.then(|| rendered(id.clone(), &row)).transpose()?)
}

async fn many(session: &mut Session<'_>, ids: &[DeviceId]) -> Result<Vec<Rendered>, StoreError> {
    let texts: Vec<&str> = ids.iter().map(DeviceId::as_str).collect();
    let rows = sqlx::query(rendered!("id = ANY($1)")).bind(texts).fetch_all(session).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        // Only `DeviceId`s are ever written; a row that somebody else put there is not ours to serve.
        if let Some(Ok(id)) = found(row)?.map(str::parse) {
            all.push(rendered(id, row)?);
        }
    }
    Ok(all)
}

/// The id in a row, if a resource was found; an error where the server takes no writes.
fn found(row: &sqlx::postgres::PgRow) -> Result<Option<&str>, StoreError> {
    if row.try_get("read_only")? {
        return Err(StoreError::read_only());
    }
    Ok(row.try_get("id")?)
}

fn rendered(id: DeviceId, row: &sqlx::postgres::PgRow) -> Result<Rendered, sqlx::Error> {
    Ok(Rendered { id, version: row.try_get("version")?, body: row.try_get("body")? })
}
