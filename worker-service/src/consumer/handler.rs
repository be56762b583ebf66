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

    /// Its name, its group, its stream, and whether it owns that.
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

    /// Parses an event of its stream, as it arrives; none where it is an event, and has no effect here. Every type of
    /// the stream comes: a `match` on the type, without `_`, has a new one decided.
    ///
    /// The owner of the stream parses the events of all types, also of those that have their effect in other handlers
    /// only: what it lets through, nobody refuses. What is no event becomes the owner's dead letter at once; any other
    /// handler passes over it.
    fn decode(envelope: &Envelope) -> Result<Option<Self::Event>, Refusal>;

    /// Work before the transaction that needs no row locks, such as writing a file. It may be repeated. After
    /// [`PREPARE_TIMEOUT`] it is given up, which counts as an outage. The failure's class says what becomes of the batch.
    ///
    /// A probe prepares, too, or an outage of a file store would seem to be the fault of the event that met it. What is
    /// left elsewhere then is not taken back: for the event of [`Self::made_up`] it has to be nothing, or to do no harm.
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

    /// The event of a probe, with its type, about something that cannot exist, since no identifier has a `?`: it is
    /// prepared, applied and rolled back, to find out whether others would succeed.
    fn made_up(nobody: Arc<str>, payload: Payload) -> (&'static str, Self::Event);
}

/// How long [`Handler::prepare`] may take: a revoked partition has eight seconds for everything.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);

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

impl Applied {
    /// Notes an event, the next one of the batch, and the fence of what it is about.
    pub fn note(&mut self, outcome: &'static str, counts: bool, fence: Option<Fence>) {
        let version = fence.as_ref().map(|(_, version)| *version);
        let fence = fence.map(|fence| match self.fences.iter_mut().enumerate().find(|(_, (key, _))| *key == fence.0) {
            Some((place, known)) => {
                *known = fence;
                place
            }
            None => {
                self.fences.push(fence);
                self.fences.len() - 1
            }
        });
        self.events.push(Processed { outcome, counts, version, fence });
    }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use shared::cache::{CacheKey, Kind};

    use super::*;

    static KIND: Kind = Kind { prefix: "thing:", load: |_, _| async { Ok(Vec::new()) }.boxed() };

    #[test]
    fn what_several_events_are_about_has_one_fence_at_the_last_version() {
        let key = |id: &str| CacheKey::new(&KIND, id.into());
        let mut applied = Applied::default();
        for (id, version) in [("a", 1), ("b", 7), ("a", 2)] {
            applied.note("applied", true, Some((key(id), version)));
        }
        applied.note("superseded", false, None);
        assert_eq!(applied.fences, [(key("a"), 2), (key("b"), 7)]);
        let seen: Vec<_> = applied.events.iter().map(|event| (event.version, event.fence)).collect();
        assert_eq!(seen, [(Some(1), Some(0)), (Some(7), Some(1)), (Some(2), Some(0)), (None, None)]);
    }
}
