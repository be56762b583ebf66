//! The outcome of a fence for each cache entry.

use crate::runtime::named::named;

named!(
    /// The outcome of a fence for the cache entry of a resource. In all cases except the last two, no read that starts
    /// afterwards returns a version below the fence's.
    pub FenceOutcome {
        /// There was no entry.
        Absent = "absent",
        /// There was a body of this version or a newer one.
        Current = "current",
        /// There was a reader's lease, which was deleted: the reader's body will not be stored.
        LeaseDeleted = "lease_deleted",
        /// An older body was replaced by the new one.
        Replaced = "replaced",
        /// The entry was deleted: an older body without a new one, or without memory for the new one, or a value that
        /// is neither a body nor a lease.
        Deleted = "deleted",
        /// Redis did not acknowledge the fence: it is kept, and sent again.
        Pending = "pending",
        /// Redis did not acknowledge the fence, and too many are kept already: the TTL limits how long a stale body
        /// lives.
        Lost = "lost",
    }
);

impl FenceOutcome {
    /// Whether Redis acknowledged it.
    pub const fn is_acknowledged(self) -> bool {
        !matches!(self, Self::Pending | Self::Lost)
    }

    /// The outcome for a script's letter; `None` if the fence needs its second step, or if the letter is unknown.
    pub(super) const fn from_code(letter: u8) -> Option<Self> {
        match letter {
            b'a' => Some(Self::Absent),
            b'c' => Some(Self::Current),
            b'd' => Some(Self::Deleted),
            b'l' => Some(Self::LeaseDeleted),
            b'r' => Some(Self::Replaced),
            _ => None,
        }
    }
}

/// The outcomes of fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceReport {
    /// One outcome for each resource, in the order of the call.
    pub outcomes: Vec<FenceOutcome>,
}

impl FenceReport {
    /// A report in which no fence is acknowledged yet.
    pub fn pending(fences: usize) -> Self {
        Self { outcomes: vec![FenceOutcome::Pending; fences] }
    }

    /// Whether Redis acknowledged all fences: then no read that starts from now on returns an older version.
    pub fn is_acknowledged(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.is_acknowledged())
    }

    /// Sets the outcomes of some fences, by their index.
    pub(super) fn note(&mut self, outcomes: &[(usize, FenceOutcome)]) {
        for (place, outcome) in outcomes {
            if let Some(noted) = self.outcomes.get_mut(*place) {
                *noted = *outcome;
            }
        }
    }
}
