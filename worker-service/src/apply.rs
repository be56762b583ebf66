//! A batch's effect: the transaction, then the fence, then what is measured of it. Each is a step of its own: what goes
//! wrong behind the transaction is no verdict on its events.

use std::time::Instant;

use shared::cache::{Accepted, FenceReport, Fencer};
use shared::event::EventType;
use shared::store::{Applied, Outcome, Store, StoreError};

use crate::lane::Task;

/// Applies batches.
#[derive(Clone)]
pub struct Applier {
    store: Store,
    fencer: Fencer,
}

impl Applier {
    /// On this store and this cache.
    pub fn new(store: Store, fencer: Fencer) -> Self {
        Self { store, fencer }
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// [`StoreError`] with its class; nothing has changed then.
    pub async fn write(&self, batch: &[Task]) -> Result<Applied, StoreError> {
        for task in batch {
            // What to do is chosen by the event's type: a new one will not compile until it is
            // decided here.
            match task.decoded.event.event_type {
                EventType::DeviceReported => {}
            }
        }
        let events: Vec<_> = batch.iter().map(|task| &task.decoded).collect();
        self.store.apply(&events).await
    }

    /// Writes an event that nobody sent, with a payload of so many bytes, and takes it back.
    ///
    /// # Errors
    /// [`StoreError`] with its class.
    pub async fn probe(&self, payload_bytes: usize) -> Result<(), StoreError> {
        self.store.probe(payload_bytes).await
    }

    /// Fences what was touched, also where a redelivery changed nothing: the worker may have died between the one and
    /// the other.
    pub async fn fence(&self, batch: &[Task], applied: &Applied) -> FenceReport {
        let events = batch.iter().map(|task| &task.decoded.event);
        let events: Vec<Accepted<'_>> = events.map(|event| (&event.device_id, event.accepted_at)).collect();
        self.fencer.fence_events(&applied.versions, &events).await
    }
}

/// Measures a batch that was written, and fenced or not. When its events became visible the fencer counts.
pub fn measure(batch: &[Task], started: Instant, applied: &Applied) {
    #[expect(clippy::cast_precision_loss, reason = "a histogram")]
    metrics::histogram!("batch_records").record(batch.len() as f64);
    metrics::histogram!("batch_duration_seconds").record(started.elapsed());
    for (outcome, count) in [
        (Outcome::Applied, applied.applied),
        (Outcome::Superseded, applied.superseded),
        (Outcome::Repeated, applied.repeated),
        (Outcome::Conflicting, applied.conflicting),
        (Outcome::Forgotten, applied.forgotten),
    ] {
        metrics::counter!("events_total", "outcome" => outcome.as_str()).increment(count as u64);
    }
}
