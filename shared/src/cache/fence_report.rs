//! What a fence did to the cache, entry by entry.

use crate::runtime::named::named;

named!(
    /// What a fence did to the cache entry of a resource. In all cases but the last two no read that starts
    /// afterwards gets less than the fence's version.
    pub FenceOutcome {
        /// No body was there.
        Absent = "absent",
        /// A body of this version, or of a newer one, was there already.
        Current = "current",
        /// A reader's lease was there, and was deleted: what it read is not put in.
        LeaseDeleted = "lease_deleted",
        /// An older body was replaced by the new one.
        Replaced = "replaced",
        /// What was there was deleted: an older body for which there was no new one, or no room, or something
        /// that is neither a body nor a lease.
        Deleted = "deleted",
        /// Redis did not acknowledge the fence: it is kept, and sent again.
        Pending = "pending",
        /// Redis did not acknowledge the fence, and too many are kept already: the TTL bounds what may be stale.
        Lost = "lost",
    }
);

impl FenceOutcome {
    /// Whether Redis acknowledged it.
    pub const fn is_acknowledged(self) -> bool {
        !matches!(self, Self::Pending | Self::Lost)
    }

    /// What a script's letter stands for; none where something is left to do.
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

/// What fences did, each in the place of its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceReport {
    /// One for each resource, in the order in which they were given.
    pub outcomes: Vec<FenceOutcome>,
}

impl FenceReport {
    /// Of so many fences, of which none is acknowledged yet.
    pub fn pending(fences: usize) -> Self {
        Self { outcomes: vec![FenceOutcome::Pending; fences] }
    }

    /// Whether Redis acknowledged all of it: then no read that starts from now on gets less.
    pub fn is_acknowledged(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.is_acknowledged())
    }

    /// Notes what became of some, by their places.
    pub(super) fn note(&mut self, outcomes: &[(usize, FenceOutcome)]) {
        for (place, outcome) in outcomes {
            if let Some(noted) = self.outcomes.get_mut(*place) {
                *noted = *outcome;
            }
        }
    }
}
