//! Commands: how fast their events come from the outbox to the topic, and how soon.

mod relay;
mod soon;

use std::time::Duration;

use shared::runtime::config::Secret;
use shared::store::{Pooler, PostgresConfig, Store};

use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::report::Figure;

/// The task of the worker that brings events to the topic.
const RELAY: (&str, &str) = ("WORKER_ONLY", "outbox-relay");

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "commands")?;
    let mut rows = relay::measure(&site, scale)?;
    rows.push(soon::measure(&site, scale)?);
    Ok(rows)
}

/// PostgreSQL as a service has it.
fn store(site: &Site<'_>) -> anyhow::Result<Store> {
    let url = Secret::new(&site.scope.database_url);
    let config = PostgresConfig { url, pooler: Pooler::None, max_connections: 10, timeout: Duration::from_secs(5) };
    let _runtime = site.bed.runtime.enter();
    Store::open(&config, "bench")
}
