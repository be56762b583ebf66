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
macro_rules! rendered {
    ($tail:literal) => {
        concat!(
            r#"SELECT id, version,
                '{"version":' || version || ',"id":"' || id || '","payload":' || payload::text
                || ',"event_id":"' || event_id
                || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                || '"}' AS body
            FROM resources "#,
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
    let row = sqlx::query(rendered!("WHERE id = $1")).bind(id.as_str()).fetch_optional(session).await?;
    Ok(row.map(|row| rendered(id.clone(), &row)).transpose()?)
}

async fn many(session: &mut Session<'_>, ids: &[DeviceId]) -> Result<Vec<Rendered>, StoreError> {
    let texts: Vec<&str> = ids.iter().map(DeviceId::as_str).collect();
    let rows = sqlx::query(rendered!("WHERE id = ANY($1)")).bind(texts).fetch_all(session).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let id: &str = row.try_get("id")?;
        // Only `DeviceId`s are ever written; a row that somebody else put there is not ours to serve.
        if let Ok(id) = id.parse() {
            found.push(rendered(id, &row)?);
        }
    }
    Ok(found)
}

fn rendered(id: DeviceId, row: &sqlx::postgres::PgRow) -> Result<Rendered, sqlx::Error> {
    Ok(Rendered { id, version: row.try_get("version")?, body: row.try_get("body")? })
}
