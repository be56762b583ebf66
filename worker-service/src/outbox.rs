//! The outbox: its rows are published on the topic of the stream that is written through it, and deleted. Also deletes
//! what repeats were recognised by, after its retention.

pub mod backlog;
pub mod end;
pub mod expire;
mod lost;
pub mod producer;
pub mod reconcile;
pub mod record;
pub mod relay;
pub mod restore;
pub mod term;
pub mod window;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use clap::value_parser;
use futures_util::FutureExt as _;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram};
use shared::runtime::config::{duration_in, trimmed};
use shared::store::outbox::relay::forget_offsets;
use shared::store::{PostgresConfig, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::end::End;
use self::relay::Relay;
use crate::consumer::registry::{Dependencies, Registry};

const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * YEAR);
/// 365.25 days, as humantime reads `1year`.
const YEAR: u64 = 31_557_600;
/// The relay's connections: one listens, one does the rest.
const CONNECTIONS: u32 = 2;

/// Registers what the worker does for the outbox.
pub fn register(worker: &mut Registry) {
    worker
        .settings::<OutboxConfig>()
        .task(relay::TASK, |given| {
            let (relay, store) = (relay(given)?, given.store.clone());
            Ok(move |stop: CancellationToken| {
                let (relay, counting) = (relay.clone(), backlog::run(store.clone(), stop.clone()));
                async move { tokio::join!(relay.run(stop), counting).0 }
            })
        })
        .task(expire::INBOX, |given| {
            let (store, since) = (given.store.clone(), Instant::now());
            let older_than = given.settings.of::<OutboxConfig>()?.inbox_retention;
            Ok(move |stop| expire::inbox(store.clone(), older_than, since, stop))
        })
        .task(expire::KEYS, |given| {
            let (store, since) = (given.store.clone(), Instant::now());
            let older_than = given.settings.of::<OutboxConfig>()?.idempotency_retention;
            Ok(move |stop| expire::keys(store.clone(), older_than, since, stop))
        })
        .describe(describe)
        .describe(backlog::describe)
        .describe(expire::describe)
        .topics_made(|store, made| {
            async move {
                if !made.is_empty() {
                    forget_offsets(store).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .after_restore(|restored| restore::after_restore(restored).boxed());
}

/// The relay of this worker.
fn relay(given: &Dependencies) -> anyhow::Result<Relay> {
    let postgres = PostgresConfig { max_connections: CONNECTIONS, ..given.postgres.clone() };
    Ok(Relay {
        store: Store::open(&postgres, "worker-service outbox-relay")?,
        client: given.client.clone(),
        source: given.outbox_source()?.clone(),
        batch_rows: given.settings.of::<OutboxConfig>()?.outbox_batch_rows,
        published: Arc::new(|| {}),
    })
}

fn describe() {
    describe_gauge!("outbox_relay_held", "1 while this worker publishes the outbox.");
    describe_counter!("outbox_published_total", "Events of the outbox that are in the topic.");
    describe_counter!("outbox_transactions_total", "Transactions of the relay in Kafka, by outcome.");
    describe_counter!("outbox_reconciled_total", "Rows that were deleted because the topic had their events already.");
    describe_counter!("outbox_transactions_ended_total", "Transactions of the relay that Kafka lost, and it aborted.");
    describe_counter!("outbox_terms_total", "Terms of the relay that ended, by reason.");
    describe_histogram!("outbox_publish_seconds", "Time from the writing of an event to its commit in Kafka.");
    counter!("outbox_published_total").increment(0);
    counter!("outbox_reconciled_total").increment(0);
    counter!("outbox_transactions_ended_total").increment(0);
    for outcome in ["committed", "failed"] {
        counter!("outbox_transactions_total", "outcome" => outcome).increment(0);
    }
    for reason in End::REASONS {
        counter!("outbox_terms_total", "reason" => reason).increment(0);
    }
}

/// The outbox, the inbox of its subscribers, and the answers to commands.
#[derive(Debug, Clone, clap::Args)]
pub struct OutboxConfig {
    /// The most events of the outbox that are published in one transaction, 1 to 10000.
    #[arg(long, env, default_value_t = 1_000, value_parser = trimmed(value_parser!(u32).range(1..=i64::from(producer::MAX_BATCH_ROWS))))]
    pub outbox_batch_rows: u32,
    /// How long a subscriber remembers which events it has taken. Must be longer than the retention of their topic: a
    /// record that is read again after that is a new event. From 1m to 100years; short times are for trials only.
    #[arg(long, env, default_value = "30days", value_parser = duration_in(RETENTIONS))]
    pub inbox_retention: Duration,
    /// How long the answer to a command is kept for a repeat with the same Idempotency-Key, from 1m to 100years.
    #[arg(long, env, default_value = "7days", value_parser = duration_in(RETENTIONS))]
    pub idempotency_retention: Duration,
}
