//! The trait that a domain implements for the worker: its events, and their effect.

use std::sync::Arc;
use std::time::Duration;

use shared::cache::Fence;
use shared::kafka::{Delivery, Envelope, Refusal};
use shared::runtime::json::Payload;
use shared::store::{Failure, Tx};

use crate::consumer::event_lines::EventLines;
use crate::source::HandlerSpec;

/// Handles the events of one consumer group. Each event has its effect once.
pub trait Handler: Send + Sync + 'static {
    /// An event, parsed.
    type Event: Send + Sync + 'static;
    /// What [`Self::prepare`] gives to the transaction; `()` for most handlers.
    type Prepared: Default + Send + Sync;

    /// Its name, its group, its stream, and the types that it takes. An event of another type becomes a dead letter
    /// `unknown_type`.
    const SPEC: HandlerSpec;
    /// All values of [`Processed::outcome`].
    const OUTCOMES: &'static [&'static str];
    /// The log lines of its events: [`crate::event_lines`] with the domain's name of a record's key.
    const LINES: EventLines;
    /// The SQL that begins its transactions; it may take a lock.
    const BEGIN: &'static str = "";

    /// For how long it recognises a repeated event; for ever if it gives nothing. The topic must not keep records that
    /// long.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Parses an event of one of these types, as it arrives. What is no such event becomes a dead letter at once.
    fn decode(envelope: &Envelope) -> Result<Self::Event, Refusal>;

    /// Work before the transaction that needs no row locks, such as writing a file. It may be repeated, and takes two
    /// seconds at most: a revoked partition has eight for everything. The failure's class says what becomes of the batch.
    fn prepare(
        &self,
        batch: &[&Delivery<Self::Event>],
    ) -> impl Future<Output = Result<Self::Prepared, Failure>> + Send {
        let _ = batch;
        std::future::ready(Ok(Self::Prepared::default()))
    }

    /// Writes a batch in the given transaction: in the log's order within a key, and each event once, however often it
    /// is delivered. The result must not depend on where batches are cut. Of a batch that fails nothing is written; the
    /// failure's class says what becomes of it.
    fn apply(
        &self,
        tx: &mut Tx<'_>,
        batch: &[&Delivery<Self::Event>],
        prepared: &Self::Prepared,
    ) -> impl Future<Output = Result<Applied, Failure>> + Send;

    /// The event of a probe, of the first of the handler's types, about something that cannot exist: it is applied and
    /// rolled back, to find out whether others would succeed.
    fn made_up(nobody: Arc<str>, payload: Payload) -> Self::Event;
}

/// For how long repeated events are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub setting: &'static str,
    pub period: Duration,
}

/// The result of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Each event of the batch, in its order.
    pub events: Vec<Processed>,
    /// Everything that was touched, new or not, with the lowest version that may be cached from now on.
    pub fences: Vec<Fence>,
}

/// An event of a batch that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed {
    /// Its outcome, in metrics and the log.
    pub outcome: &'static str,
    /// Whether it changed something: now or, if it is a repeat, the first time. The log has a line for each that did
    /// not.
    pub counts: bool,
    /// The version of its resource after it.
    pub version: Option<i64>,
    /// The index of its resource's fence.
    pub fence: Option<usize>,
}
