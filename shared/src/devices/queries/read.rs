//! Reads a resource, rendered as the body for the client and the cache.

use std::sync::Arc;

use crate::devices::DeviceId;
use crate::store::{Failure, Loaded, Store};

/// The only place that renders a resource. The API and the worker both use it, so that equal versions have equal bytes.
/// An event's id contains no character that needs escaping.
///
/// It always returns a row, as [`Store::load`] requires.
const SQL: &str = r#"SELECT read_only, id, version,
        '{"version":' || version || ',"id":' || to_json(id) || ',"payload":' || payload::text
        || ',"event_id":"' || event_id
        || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '"}' AS body
    FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
    LEFT JOIN resources ON id = ANY($1)"#;

/// The resource of a device, if it exists.
pub async fn resource(store: &Store, id: &DeviceId) -> Result<Option<Loaded>, Failure> {
    let loaded = load(store, &[Arc::clone(id.cache_key().id())]).await?;
    Ok(loaded.into_iter().next())
}

/// Reads the resources with these identifiers that exist.
pub async fn load(store: &Store, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    store.load(ids, SQL).await
}
