//! What became of events: for a dead letter that stands beside a row.

use std::collections::HashMap;

use sqlx::Row;

use crate::devices::DeviceId;
use crate::kafka::ids::EventId;
use crate::store::{Failure, Store, within_deadline};

/// Of these events those that have a row, with its outcome: `applied` or `superseded`.
///
/// # Errors
/// PostgreSQL away, or too slow.
pub async fn outcomes(
    store: &Store,
    events: &[(DeviceId, EventId)],
) -> Result<HashMap<(String, String), String>, Failure> {
    let query = sqlx::query(
        "SELECT device_id, event_id, outcome FROM events
         JOIN unnest($1::text[], $2::text[]) AS asked (device_id, event_id) USING (device_id, event_id)",
    );
    let query = query
        .bind(events.iter().map(|(device, _)| device.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, event)| event.as_str()).collect::<Vec<_>>());
    let rows = within_deadline!(store, |session| async { Ok(query.fetch_all(session).await?) })?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        found.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
    }
    Ok(found)
}
