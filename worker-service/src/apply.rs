//! A batch's effect: the transaction, then the fence, then its lines in the log.

use std::time::SystemTime;

use shared::cache::Fencer;
use shared::config::AccessLog;
use shared::event::EventType;
use shared::store::{Outcome, Store, StoreError};
use time::OffsetDateTime;

use crate::event_log;
use crate::lane::Task;
use crate::trace::Processing;

/// Applies batches.
#[derive(Clone)]
pub struct Applier {
    store: Store,
    fencer: Fencer,
    access_log: AccessLog,
}

impl Applier {
    /// On this store and this cache.
    pub fn new(store: Store, fencer: Fencer, access_log: AccessLog) -> Self {
        Self { store, fencer, access_log }
    }

    /// Applies a batch and fences what it touched, also where a redelivery changed nothing: the
    /// worker may have died between the one and the other.
    ///
    /// # Errors
    /// [`StoreError`] with its class; nothing has changed then.
    pub async fn apply(&self, batch: &[Task]) -> Result<(), StoreError> {
        for task in batch {
            // What to do is chosen by the event's type: a new one will not compile until it is
            // decided here.
            match task.decoded.event.event_type {
                EventType::DeviceReported => {}
            }
        }
        let started = std::time::Instant::now();
        let processing = Processing::begin(batch);
        let events: Vec<_> = batch.iter().map(|task| &task.decoded).collect();
        let applied = match self.store.apply(&events).await {
            Ok(applied) => applied,
            Err(error) => {
                processing.failed(batch, &error);
                return Err(error);
            }
        };
        let committed = SystemTime::now();
        let fenced = self.fencer.fence(&applied.versions).await;
        processing.done(batch, committed, fenced.is_acknowledged());
        event_log::processed(self.access_log, batch, &applied, &fenced);

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
        // What is not fenced may not be seen yet: `cache_fences_pending` tells of it.
        if !fenced.is_acknowledged() {
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        let visible = metrics::histogram!("accepted_to_visible_seconds");
        for event in events {
            visible.record((now - event.event.accepted_at).as_seconds_f64().max(0.0));
        }
        Ok(())
    }
}
