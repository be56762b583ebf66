//! `forget`: erases a device.

use std::io::Write;

use anyhow::Context;
use shared::cache::Cache;
use shared::store::Store;
use shared::topic::rfc3339;

use crate::config::ForgetConfig;

/// Erases a device's rows, leaves its tombstone, and then deletes its cache entry: in this order,
/// because until the transaction is over a reader could put the entry back.
///
/// # Errors
/// PostgreSQL or Redis away; the message says what is erased and what is not.
pub async fn run(config: &ForgetConfig, out: &mut impl Write) -> anyhow::Result<()> {
    let store = Store::open(&config.stores.postgres, "worker-service forget")?;
    let cache = Cache::open(&config.stores.redis)?;
    store.check().await.context("nothing was erased: PostgreSQL is not ready")?;
    anyhow::ensure!(cache.is_there().await, "nothing was erased: Redis does not answer");
    let gone = store.forget(&config.device).await.context("nothing was erased")?;
    let version = gone.version.map_or_else(|| "no resource".to_owned(), |version| format!("version {version}"));
    let (events, at) = (gone.events, rfc3339(gone.at));
    writeln!(out, "forgot {}: {events} events, {version}; what was accepted up to {at} has no effect", config.device)?;
    out.flush()?;
    cache.forget(&config.device).await.with_context(|| {
        format!("the rows are erased, but Redis keeps its entry until its TTL of {:?} ends", config.stores.redis.ttl)
    })?;
    store.close().await;
    Ok(())
}
