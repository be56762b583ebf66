//! After PostgreSQL was restored to an earlier time: compares its outbox with the topic before commands are let in.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use shared::runtime::lifecycle::no_result;
use shared::store::outbox::relay;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::producer::{Transactional, transactional_id};
use super::reconcile::Reconciliation;
use super::relay::{LEASE, holder};
use crate::consumer::seek::Restored;

/// Removes what the topic has from an outbox that was restored to an earlier time, and whose relay does not run. Does
/// nothing for a group that reads another topic.
pub async fn after_restore(Restored { client, store, source }: &Restored<'_>) -> anyhow::Result<()> {
    if !source.handler.stream.transactional {
        return Ok(());
    }
    let holder = holder();
    let began = Instant::now();
    let row = loop {
        if let Some(row) = relay::hold(store, &holder, LEASE).await? {
            break row;
        }
        anyhow::ensure!(
            began.elapsed() < 2 * LEASE,
            "the relay of the outbox still runs: stop all workers first; one that was killed leaves after 10 s"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let topic = source.topics.input.as_str();
    let (client, source, given) =
        ((*client).clone(), (*source).clone(), ((*store).clone(), holder.clone(), Handle::current()));
    let reconciled = tokio::task::spawn_blocking(move || {
        let (store, holder, runtime) = given;
        // It shuts out the relay of the database as it was before the restore.
        let id = transactional_id(&row.identity, &source.topics.input);
        let stop = CancellationToken::new();
        let producer = Transactional::open(&client, &source.topics.input, &id, &stop)?;
        let reconciliation = Reconciliation {
            runtime: &runtime,
            store: &store,
            client: &client,
            producer: &producer,
            source: &source,
            holder: &holder,
            progress: &|| {},
            stop: &stop,
        };
        reconciliation.run(&row.offsets).map_err(anyhow::Error::from)
    });
    let reconciled = reconciled.await.map_err(no_result)?;
    relay::release(store, &holder).await?;
    let rows = reconciled.context("the outbox could not be compared with its topic")?;
    tracing::info!(topic, rows, "the topic has these rows of the outbox: they are deleted");
    Ok(())
}
