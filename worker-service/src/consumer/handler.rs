//! The trait that a domain implements for the worker: its events, and their effect.

use std::sync::Arc;
use std::time::Duration;

use shared::cache::Fence;
use shared::kafka::{Delivery, Envelope, Refusal};
use shared::runtime::json::Payload;
use shared::store::{Failure, Tx};

use crate::consumer::event_lines::EventLines;
use crate::source::HandlerSpec;

/// Handles the events of one consumer group. Each event is applied once.
pub trait Handler: Send + Sync + 'static {
    /// An event, parsed.
    type Event: Send + Sync + 'static;
    /// The result of [`Self::prepare`], for the transaction; `()` for most handlers.
    type Prepared: Default + Send + Sync;

    /// Its name, its group, its stream, and whether it owns the stream.
    const SPEC: HandlerSpec;
    /// All values of [`Processed::outcome`].
    const OUTCOMES: &'static [&'static str];
    /// The log lines of its events: [`crate::event_lines`] with the domain's name of a record's key.
    const LINES: EventLines;
    /// The SQL that begins its transactions; it may take a lock.
    const BEGIN: &'static str = "";

    /// The most events of a batch: few for a handler whose [`Self::prepare`] takes long for each, because a batch that
    /// never meets its deadline would be tried for ever.
    const BATCH: usize = 1_000;

    /// How long it recognises a repeated event; `None` means for ever. The topic must keep its records for a shorter
    /// time.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Parses an event of its stream when it arrives; `None` if the event has no effect in this handler. The handler
    /// gets every type of the stream: match on the type without `_`, so that a new type does not compile until it is
    /// decided.
    ///
    /// The owner of the stream parses the events of all types, even those that only other handlers apply, because no
    /// other handler refuses a record. A record that is no event becomes the owner's dead letter at once; all other
    /// handlers skip it.
    fn decode(envelope: &Envelope) -> Result<Option<Self::Event>, Refusal>;

    /// Work before the transaction that needs no row locks, such as writing a file. It may be repeated. After
    /// [`PREPARE_TIMEOUT`] it is cancelled, which counts as an outage. The failure's class decides what happens to the
    /// batch.
    ///
    /// A probe calls this, too; otherwise an outage of a file store would seem to be caused by the event that met it.
    /// Its effects outside the database are not rolled back: for the event of [`Self::probe_event`] there must be
    /// none, or only harmless ones.
    fn prepare(
        &self,
        batch: &[&Delivery<Self::Event>],
    ) -> impl Future<Output = Result<Self::Prepared, Failure>> + Send {
        let _ = batch;
        std::future::ready(Ok(Self::Prepared::default()))
    }

    /// Writes a batch in the given transaction: in the log's order within a key, and each event once, however often it
    /// is delivered. The result must not depend on how the log is split into batches. If a batch fails, none of its
    /// events is written; the failure's class decides what happens to it.
    fn apply(
        &self,
        tx: &mut Tx<'_>,
        batch: &[&Delivery<Self::Event>],
        prepared: &Self::Prepared,
    ) -> impl Future<Output = Result<Applied, Failure>> + Send;

    /// Counts a batch in the domain's own metrics, after its transaction was committed; `applied` has an entry for each
    /// event. The backbone counts outcomes.
    fn measure(&self, batch: &[&Delivery<Self::Event>], applied: &Applied) {
        let _ = (batch, applied);
    }

    /// The event of a probe, with its type. It is about a resource that cannot exist, because no identifier begins with
    /// a blank. It is prepared, applied and rolled back, to find out whether other events would succeed.
    fn probe_event(nobody: Arc<str>, payload: Payload) -> (&'static str, Self::Event);
}

/// How long [`Handler::prepare`] may take: a revoked partition has eight seconds in total.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long repeated events are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub setting: &'static str,
    pub period: Duration,
}

/// The result of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// One entry per event of the batch, in order.
    pub events: Vec<Processed>,
    /// Every resource that was touched, changed or not, with the lowest version that may be cached from now on.
    pub fences: Vec<Fence>,
}

impl Applied {
    /// Adds the next event of the batch, with the fence of its resource.
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
        self.events.push(Processed { outcome, reason: None, counts, version, fence });
    }
}

/// An event of a batch that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed {
    /// Its outcome, in metrics and the log.
    pub outcome: &'static str,
    /// Why it has this outcome, in the log, if there are several reasons.
    pub reason: Option<&'static str>,
    /// Whether it changed something: now or, if it is a repeat, the first time. Events that did not are always logged.
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
