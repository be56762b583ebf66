//! Reads a resource, rendered as the body that a client and the cache get.

use std::sync::Arc;

use crate::devices::DeviceId;
use crate::store::{Failure, Loaded, Store};

/// The one place that says how a resource looks: reader and worker use it alike, so that equal
/// versions are equal bytes. Identifiers need no escaping: their characters allow none.
///
/// There is always a row, as [`Store::load`] wants it.
const SQL: &str = r#"SELECT read_only, id, version,
        '{"version":' || version || ',"id":"' || id || '","payload":' || payload::text
        || ',"event_id":"' || event_id
        || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '"}' AS body
    FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
    LEFT JOIN resources ON id = ANY($1)"#;

/// The resource of a device, if there is one.
pub async fn resource(store: &Store, id: &DeviceId) -> Result<Option<Loaded>, Failure> {
    let loaded = load(store, &[Arc::clone(id.cache_key().id())]).await?;
    Ok(loaded.into_iter().next())
}

/// Those of these resources that exist.
pub async fn load(store: &Store, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    store.load(ids, SQL).await
}
