//! What a batch came to, event by event.

use crate::cache::Fence;
use crate::runtime::named::named;

named!(
    /// What became of an event: a metric's label, and in the log.
    pub Outcome {
        /// It changed its resource.
        Applied = "applied",
        /// It came behind a newer state: it has its row, and changed nothing else.
        Superseded = "superseded",
        /// It was there already.
        Repeated = "repeated",
        /// Its id was there already, with another payload, which is ignored.
        Conflicting = "conflicting",
        /// It is of a device that was forgotten since: it has no effect.
        Forgotten = "forgotten",
    }
);

impl Outcome {
    /// Whether what was reported counts: now, or, of a repeat, since the first time.
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
    /// What became of it.
    pub outcome: Outcome,
    /// The version that it brought its resource to; where it changed nothing, the one that the resource is
    /// at. None where there is no resource.
    pub version: Option<i64>,
    /// Which of the batch's fences is that of its device's resource.
    pub fence: Option<usize>,
}

/// What a batch came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Each event of the batch, in its order.
    pub events: Vec<Processed>,
    /// The resource of each device of the batch that has one, with the version it is at now; sorted by device.
    pub fences: Vec<Fence>,
}

impl Applied {
    /// Of a batch of so many events, of which nothing is known yet to have had an effect.
    pub(super) fn of(events: usize) -> Self {
        let none = Processed { outcome: Outcome::Forgotten, version: None, fence: None };
        Self { events: vec![none; events], ..Self::default() }
    }

    pub(super) fn note(&mut self, index: usize, outcome: Outcome, version: Option<i64>) {
        if let Some(event) = self.events.get_mut(index) {
            // The fence that is added next.
            *event = Processed { outcome, version, fence: version.map(|_| self.fences.len()) };
        }
    }
}
