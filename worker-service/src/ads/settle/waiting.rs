//! The leases and incarnations that wait for a fence. Pure.

use std::collections::HashSet;

use crate::consumer::offset_fence::{FenceState, OffsetFence, Offsets};

/// Leases and incarnations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) leases: Vec<String>,
    pub(super) incarnations: Vec<i64>,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.incarnations.is_empty()
    }

    fn add(&mut self, mut other: Self) {
        self.leases.append(&mut other.leases);
        self.incarnations.append(&mut other.incarnations);
    }
}

/// The fences, in the order in which they were taken, and what waits for each.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<(OffsetFence, Due)>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Meets what is due now, and returns what waits for no fence yet. Forgets what is due no more, if `is_all`: events
    /// used it up, or another worker closed it.
    pub(super) fn meet(&mut self, due: Due, is_all: bool) -> Due {
        let leases: HashSet<&str> = due.leases.iter().map(String::as_str).collect();
        for (_, waiting) in &mut self.0 {
            waiting.leases.retain(|lease| !is_all || leases.contains(lease.as_str()));
            waiting.incarnations.retain(|serial| due.incarnations.contains(serial));
        }
        self.0.retain(|(_, waiting)| !waiting.is_empty());
        let known: HashSet<&str> = self.0.iter().flat_map(|(_, due)| &due.leases).map(String::as_str).collect();
        let is_known = |serial: &i64| self.0.iter().any(|(_, due)| due.incarnations.contains(serial));
        Due {
            leases: due.leases.iter().filter(|lease| !known.contains(lease.as_str())).cloned().collect(),
            incarnations: due.incarnations.into_iter().filter(|serial| !is_known(serial)).collect(),
        }
    }

    /// Takes a fence for these; `now` was read after they were due.
    pub(super) fn fence(&mut self, new: Due, now: &Offsets) {
        if !new.is_empty() {
            self.0.push((now.fence(), new));
        }
    }

    /// Takes out what no longer waits. What waits for a void fence gets another one once it is due again.
    pub(super) fn passed(&mut self, now: &Offsets) -> Due {
        let mut passed = Due::default();
        for (fence, due) in std::mem::take(&mut self.0) {
            match fence.state(now) {
                FenceState::Passed => passed.add(due),
                FenceState::Waiting => self.0.push((fence, due)),
                FenceState::Void => {}
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// One partition: the group's committed offset, and the end.
    fn offsets(committed: i64, end: i64) -> Offsets {
        Offsets::of(&[(Some(committed), end)])
    }

    fn due(leases: &[&str], incarnations: &[i64]) -> Due {
        Due { leases: leases.iter().map(|lease| (*lease).to_owned()).collect(), incarnations: incarnations.to_vec() }
    }

    /// One second of the task.
    fn tick(waiting: &mut Waiting, found: Due, now: &Offsets) -> Due {
        let new = waiting.meet(found, true);
        waiting.fence(new, now);
        waiting.passed(now)
    }

    #[test]
    fn what_is_due_waits_for_one_fence_and_is_closed_once() {
        let mut waiting = Waiting::default();
        assert_eq!(tick(&mut waiting, due(&["a", "b"], &[7]), &offsets(3, 5)), Due::default());
        assert_eq!(tick(&mut waiting, due(&["a", "b", "c"], &[7]), &offsets(4, 9)), Due::default());
        // An event has used up `b`.
        assert_eq!(tick(&mut waiting, due(&["a", "c"], &[7]), &offsets(5, 9)), due(&["a"], &[7]));
        assert_eq!(tick(&mut waiting, due(&["c"], &[]), &offsets(8, 9)), Due::default());
        assert_eq!(tick(&mut waiting, due(&["c"], &[]), &offsets(9, 12)), due(&["c"], &[]));
        assert!(waiting.is_empty());
        assert_eq!(tick(&mut waiting, due(&["d"], &[]), &offsets(12, 12)), due(&["d"], &[]), "nothing is in between");
    }

    #[test]
    fn what_was_not_closed_gets_a_later_fence() {
        let mut waiting = Waiting::default();
        assert_eq!(tick(&mut waiting, due(&["a"], &[]), &offsets(5, 5)), due(&["a"], &[]));
        // PostgreSQL did not close it.
        assert_eq!(tick(&mut waiting, due(&["a"], &[]), &offsets(5, 8)), Due::default());
        assert_eq!(tick(&mut waiting, due(&["a"], &[]), &offsets(8, 8)), due(&["a"], &[]));
        // The topic was recreated.
        assert_eq!(tick(&mut waiting, due(&["b"], &[]), &offsets(8, 9)), Due::default());
        assert_eq!(tick(&mut waiting, due(&["b"], &[]), &offsets(0, 0)), Due::default());
        assert_eq!(tick(&mut waiting, due(&["b"], &[]), &offsets(0, 0)), due(&["b"], &[]));
    }

    #[test]
    fn of_a_part_of_what_is_due_nothing_is_forgotten() {
        let mut waiting = Waiting::default();
        let new = waiting.meet(due(&["a"], &[]), false);
        waiting.fence(new, &offsets(0, 1));
        assert_eq!(waiting.meet(due(&["b"], &[]), false), due(&["b"], &[]));
        assert_eq!(waiting.passed(&offsets(1, 1)), due(&["a"], &[]));
    }

    proptest! {
        /// Each lease has records in the log, all of them before it is due. It must not be closed before they are
        /// committed, and is closed when they are.
        #[test]
        fn a_lease_is_closed_after_its_last_record_and_not_much_later(
            seconds in prop::collection::vec((0..3_i64, 0..4_i64, 0..3_usize, any::<bool>()), 1..60),
        ) {
            let mut waiting = Waiting::default();
            let (mut end, mut committed, mut leases) = (0_i64, 0_i64, 0);
            // By lease: the end of the log when it was due.
            let mut open: BTreeMap<String, i64> = BTreeMap::new();
            let mut closed = BTreeSet::new();
            for (records, applied, new, closes) in seconds {
                end += records;
                for _ in 0..new {
                    leases += 1;
                    open.insert(format!("lease {leases}"), end);
                }
                let found = Due { leases: open.keys().cloned().collect(), incarnations: Vec::new() };
                // More records come between the two questions.
                end += records;
                committed = (committed + applied).min(end);
                for lease in tick(&mut waiting, found, &offsets(committed, end)).leases {
                    prop_assert!(open[&lease] <= committed, "{lease} at {committed}");
                    prop_assert!(!closed.contains(&lease), "{lease} twice");
                    if closes {
                        open.remove(&lease);
                        closed.insert(lease);
                    }
                }
            }
            let found = Due { leases: open.keys().cloned().collect(), incarnations: Vec::new() };
            let all: BTreeSet<_> = found.leases.iter().cloned().collect();
            let last = tick(&mut waiting, found, &offsets(end, end));
            prop_assert_eq!(last.leases.into_iter().collect::<BTreeSet<_>>(), all);
        }
    }
}
