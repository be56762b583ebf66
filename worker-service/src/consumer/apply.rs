//! Applies a batch: the transaction, then the fence, then the metrics. These are separate steps, because an error after
//! the transaction is no failure of the events.

use std::time::Instant;

use shared::cache::{Accepted, FenceReport, Fencer};
use shared::kafka::Delivery;
use shared::store::{Failure, Store, Tx, Work};

use crate::consumer::handler::{Applied, Handler, PREPARE_TIMEOUT, Processed};
use crate::scheduler::Task;

/// Applies batches.
pub struct Applier<H> {
    handler: H,
    store: Store,
    fencer: Fencer,
}

impl<H: Handler> Applier<H> {
    /// Applies batches with this handler, store and cache.
    pub fn new(handler: H, store: Store, fencer: Fencer) -> Self {
        Self { handler, store, fencer }
    }

    /// Writes a batch, completely or not at all.
    pub async fn write(&self, batch: &[Task<H::Event>]) -> Result<Applied, Failure> {
        let batch: Vec<_> = batch.iter().map(|task| &task.delivery).collect();
        self.store.transact(H::BEGIN, &self.writing(&batch).await?).await
    }

    /// Writes a test event with a payload of `bytes` bytes and rolls it back.
    pub async fn probe(&self, bytes: usize) -> Result<(), Failure> {
        let event = Delivery::probe_event(bytes, H::probe_event);
        self.store.probe(H::BEGIN, &self.writing(&[&event]).await?).await
    }

    async fn writing<'a>(&'a self, batch: &'a [&'a Delivery<H::Event>]) -> Result<Writing<'a, H>, Failure> {
        let prepared = tokio::time::timeout(PREPARE_TIMEOUT, self.handler.prepare(batch)).await;
        let prepared = prepared.map_err(|_| Failure::outage(format!("not prepared within {PREPARE_TIMEOUT:?}")))??;
        Ok(Writing { handler: &self.handler, batch, prepared })
    }

    /// Fences every resource that the batch touched, even if a redelivery changed nothing: the worker may have died
    /// between the transaction and the fence.
    pub async fn fence(&self, batch: &[Task<H::Event>], applied: &Applied) -> FenceReport {
        let accepted = |(task, event): (&Task<H::Event>, &Processed)| {
            let (key, _) = applied.fences.get(event.fence?)?;
            Some((key, task.delivery.envelope.accepted_at))
        };
        let events: Vec<Accepted<'_>> = batch.iter().zip(&applied.events).filter_map(accepted).collect();
        self.fencer.fence_events(&applied.fences, &events).await
    }

    /// Measures a batch that was written, whether or not it was fenced. The fencer measures when its events became
    /// visible.
    pub fn measure(&self, group: &str, started: Instant, batch: &[Task<H::Event>], applied: &Applied) {
        let labels = [("group", group.to_owned())];
        metrics::histogram!("batch_records", &labels).record(applied.events.len() as f64);
        metrics::histogram!("batch_duration_seconds", &labels).record(started.elapsed());
        for outcome in H::OUTCOMES {
            let count = applied.events.iter().filter(|event| event.outcome == *outcome).count();
            let group = group.to_owned();
            metrics::counter!("events_total", "group" => group, "outcome" => *outcome).increment(count as u64);
        }
        let batch: Vec<_> = batch.iter().map(|task| &task.delivery).collect();
        self.handler.measure(&batch, applied);
    }
}

/// A batch that is being written.
struct Writing<'a, H: Handler> {
    handler: &'a H,
    batch: &'a [&'a Delivery<H::Event>],
    prepared: H::Prepared,
}

impl<H: Handler> Work for Writing<'_, H> {
    type Output = Applied;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Applied, Failure> {
        self.handler.apply(tx, self.batch, &self.prepared).await
    }
}
