//! Compares the broker's committed offsets with the stored ones. Pure.

use std::collections::BTreeMap;

/// A partition whose committed offset at the broker is behind the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    /// The committed offset.
    pub(super) committed: i64,
    /// An offset that was stored long before the broker was asked.
    pub(super) stored: i64,
}

/// Compares each partition's committed offset with the one stored at the last comparison, which must be committed by
/// now, and notes the offsets stored now. A stored offset may be lower than before if the topic was recreated.
pub(super) fn compare(
    noted: &mut BTreeMap<i32, i64>,
    stored: BTreeMap<i32, i64>,
    held: &BTreeMap<i32, i64>,
) -> BTreeMap<i32, Behind> {
    let before = std::mem::replace(noted, stored);
    let behind = noted.iter().filter_map(|(partition, now)| {
        let stored = *before.get(partition)?.min(now);
        let committed = *held.get(partition)?;
        (committed < stored).then_some((*partition, Behind { committed, stored }))
    });
    behind.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(offset: i64) -> BTreeMap<i32, i64> {
        BTreeMap::from([(0, offset)])
    }

    #[test]
    fn what_was_stored_the_last_time_must_be_committed_by_now() {
        let (mut noted, none) = (BTreeMap::new(), BTreeMap::new());
        let mut compare = |stored, held: &_| compare(&mut noted, stored, held);
        assert!(compare(one(10), &one(0)).is_empty(), "it was stored just now");
        assert!(compare(one(20), &one(10)).is_empty());
        let behind = compare(one(30), &one(15));
        assert_eq!(behind, BTreeMap::from([(0, Behind { committed: 15, stored: 20 })]));
        assert!(compare(one(4), &one(4)).is_empty(), "the topic was made anew");
        assert!(compare(none.clone(), &one(0)).is_empty(), "it is somebody else's");
        assert!(compare(one(5), &one(0)).is_empty(), "and ours again");
        assert!(compare(one(5), &none).is_empty(), "nobody knows");
        assert_eq!(compare(one(5), &one(0)).len(), 1, "what was committed is gone");
    }
}
