//! The outcome of a batch, for each event.

use crate::cache::Fence;
use crate::runtime::named::named;

named!(
    /// The outcome of an event, as a metric's label and in the log.
    pub Outcome {
        /// It changed its resource.
        Applied = "applied",
        /// The state was newer already: the event has its row, and changed nothing else.
        Superseded = "superseded",
        /// The same event was stored before.
        Repeated = "repeated",
        /// An event with this id but another payload was stored before; the new payload is ignored.
        Conflicting = "conflicting",
        /// Its device was erased after the event: it has no effect.
        Forgotten = "forgotten",
    }
);

impl Outcome {
    /// Whether the event took effect, now or, for a repeat, the first time.
    pub const fn counts(self) -> bool {
        match self {
            Self::Applied | Self::Repeated => true,
            Self::Superseded | Self::Conflicting | Self::Forgotten => false,
        }
    }
}

/// An event of a batch that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed {
    /// The event's outcome.
    pub outcome: Outcome,
    /// The version of the resource after this event; if the event changed nothing, the resource's current version.
    /// `None` if there is no resource.
    pub version: Option<i64>,
    /// The index of its resource's fence among the batch's fences.
    pub fence: Option<usize>,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The outcome of each event, in the order of the batch.
    pub events: Vec<Processed>,
    /// The resources of the batch's devices, with their current versions, sorted by device.
    pub fences: Vec<Fence>,
}

impl Applied {
    /// The initial outcome: no event has had an effect.
    pub(super) fn of(events: usize) -> Self {
        let none = Processed { outcome: Outcome::Forgotten, version: None, fence: None };
        Self { events: vec![none; events], ..Self::default() }
    }

    pub(super) fn note(&mut self, index: usize, outcome: Outcome, version: Option<i64>) {
        if let Some(event) = self.events.get_mut(index) {
            // The resource's fence is the next one that is added.
            *event = Processed { outcome, version, fence: version.map(|_| self.fences.len()) };
        }
    }
}
