//! Whether the broker holds as committed what was stored to be committed. Pure.

use std::collections::BTreeMap;

/// What was stored when it was last compared: by now it must be committed.
#[derive(Debug, Default)]
pub(super) struct Commits(BTreeMap<i32, i64>);

/// A partition of which the broker holds less than was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    /// What it holds.
    pub(super) committed: i64,
    /// What was stored long before it was asked.
    pub(super) stored: i64,
}

impl Commits {
    /// Compares, by partition, what the broker holds with what was stored the last time, and notes what is stored
    /// now. An offset that is stored may be lower than before, where a topic was made anew.
    pub(super) fn compare(&mut self, stored: BTreeMap<i32, i64>, held: &BTreeMap<i32, i64>) -> BTreeMap<i32, Behind> {
        let before = std::mem::replace(&mut self.0, stored);
        let behind = self.0.iter().filter_map(|(partition, now)| {
            let stored = *before.get(partition)?.min(now);
            let committed = *held.get(partition)?;
            (committed < stored).then_some((*partition, Behind { committed, stored }))
        });
        behind.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(offset: i64) -> BTreeMap<i32, i64> {
        BTreeMap::from([(0, offset)])
    }

    #[test]
    fn what_was_stored_the_last_time_must_be_committed_by_now() {
        let mut commits = Commits::default();
        assert!(commits.compare(one(10), &one(0)).is_empty(), "it was stored just now");
        assert!(commits.compare(one(20), &one(10)).is_empty());
        let behind = commits.compare(one(30), &one(15));
        assert_eq!(behind, BTreeMap::from([(0, Behind { committed: 15, stored: 20 })]));
        assert!(commits.compare(one(4), &one(4)).is_empty(), "the topic was made anew");
        assert!(commits.compare(BTreeMap::new(), &one(0)).is_empty(), "it is somebody else's");
        assert!(commits.compare(one(5), &one(0)).is_empty(), "and ours again");
        assert!(commits.compare(one(5), &BTreeMap::new()).is_empty(), "nobody knows");
        assert_eq!(commits.compare(one(5), &one(0)).len(), 1, "what was committed is gone");
    }
}
