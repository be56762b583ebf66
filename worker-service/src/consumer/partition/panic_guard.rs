//! Catches panics of the code that runs for one record or one batch, each piece by itself. A panic that prevents a
//! record's effect counts as a failure of that record; a panic afterwards, or in logs, spans and metrics, has no
//! consequence.

use std::time::{Instant, SystemTime};

use rdkafka::message::BorrowedMessage;
use shared::cache::FenceReport;
use shared::kafka::{Delivery, Reason, Record, Refusal, decode};
use shared::store::Failure;

use super::PartitionRunner;
use crate::consumer::event_log;
use crate::consumer::handler::{Applied, Handler};
use crate::observe::panics::{self, Panicked};
use crate::observe::trace::Processing;
use crate::scheduler::Task;

/// A record, and the panic if it could not be read completely.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) record: Record,
    unread: Option<Panicked>,
}

/// The event in a record, if the handler has an effect for it.
fn delivery<H: Handler>(record: &Record) -> Result<Option<Delivery<H::Event>>, Refusal> {
    let (envelope, position) = decode(record, &H::SPEC.stream)?;
    let event = H::decode(&envelope)?;
    Ok(event.map(|event| Delivery { envelope, position, event }))
}

impl<H: Handler> PartitionRunner<H> {
    /// Reads a record; if that panics, without its headers.
    pub(super) fn read(&self, mut message: BorrowedMessage<'_>) -> Taken {
        match panics::caught(|| (self.dependencies.read)(&mut message)) {
            Ok(record) => Taken { record, unread: None },
            Err(panicked) => {
                self.note(&panicked);
                Taken { record: Record::without_headers(&message), unread: Some(panicked) }
            }
        }
    }

    /// The record's event, if there is one for this handler. Only the stream's owner refuses a record that is no event,
    /// so that there is one dead letter. A panic in reading or decoding is the handler's own, so every handler refuses
    /// such a record.
    pub(super) fn decoded(&self, taken: &Taken) -> Result<Option<Delivery<H::Event>>, Refusal> {
        let refused = |panicked: &Panicked| Err(Refusal { reason: Reason::Panicked, error: panicked.to_string() });
        match &taken.unread {
            Some(panicked) => refused(panicked),
            None => match panics::caught(|| delivery::<H>(&taken.record)) {
                Ok(Err(_)) if !H::SPEC.owner => Ok(None),
                Ok(decoded) => decoded,
                Err(panicked) => {
                    self.note(&panicked);
                    refused(&panicked)
                }
            },
        }
    }

    /// Applies a batch. Once it is written, no panic in fences, logs or metrics makes it a failure.
    pub(super) async fn apply_whole(&self, batch: &[Task<H::Event>]) -> Result<(), Failure> {
        let trace = self.aside(|| Processing::begin(batch, H::LINES.key));
        let started = Instant::now();
        match self.caught(self.dependencies.applier.write(batch)).await {
            Ok(applied) => {
                self.show(batch, trace, started, &applied).await;
                Ok(())
            }
            Err(error) => {
                self.aside(|| trace.map(|trace| trace.failed(batch, &error)));
                Err(error)
            }
        }
    }

    /// Finds out whether any event could be applied now.
    pub(super) async fn probe(&self, payload_bytes: usize) -> Result<(), Failure> {
        let result = self.caught(self.dependencies.applier.probe(payload_bytes)).await;
        self.aside(|| event_log::probe(&self.group, self.partition, &result));
        result
    }

    /// Runs a transaction, whose panic is a failure.
    async fn caught<T>(&self, transaction: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        panics::caught_async(transaction).await.unwrap_or_else(|panicked| {
            self.note(&panicked);
            Err(Failure::panicked(panicked.to_string()))
        })
    }

    async fn show(&self, batch: &[Task<H::Event>], trace: Option<Processing>, started: Instant, applied: &Applied) {
        let committed = SystemTime::now();
        let fenced = match panics::caught_async(self.dependencies.applier.fence(batch, applied)).await {
            Ok(fenced) => fenced,
            Err(panicked) => {
                self.note(&panicked);
                FenceReport::pending(applied.fences.len())
            }
        };
        let is_fenced = fenced.is_acknowledged();
        self.aside(|| trace.map(|trace| trace.done(batch, committed, is_fenced)));
        self.aside(|| {
            event_log::processed(&H::LINES, &self.group, self.dependencies.access_log, batch, applied, &fenced)
        });
        self.aside(|| self.dependencies.applier.measure(&self.dependencies.source.group, started, batch, applied));
    }

    /// Runs code whose failure has no consequence: a log line, a span, a metric.
    pub(super) fn aside<T>(&self, code: impl FnOnce() -> T) -> Option<T> {
        panics::caught(code).map_err(|panicked| self.note(&panicked)).ok()
    }

    /// A panic was caught.
    pub(super) fn note(&self, panicked: &Panicked) {
        self.dependencies.health.panicked(self.partition);
        panicked.tell(&self.group, self.partition);
    }
}
