//! The budget for the bytes of records that all partitions of all groups of this process hold: in work, held, or on
//! their way to the dead-letter topic. A partition over the budget takes in no records, but continues with those that
//! it has; the client then stops fetching for it by itself, and nothing else waits.
//!
//! The first half of the budget is first come, first served. The other half is divided equally among the partitions, so
//! that each always progresses, however much the others hold. The total exceeds the limit by at most one record per
//! partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The budget of a process; cloning shares it.
#[derive(Debug, Clone)]
pub struct ByteBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    partitions: AtomicUsize,
    freed: Notify,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let (used, partitions) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Shared { limit, used, partitions, freed: Notify::new() }))
    }

    /// The share of a new partition, until it is dropped.
    pub fn join(&self) -> Share {
        self.0.partitions.fetch_add(1, Ordering::Relaxed);
        Share { budget: self.clone(), holds: AtomicUsize::new(0), is_refused: AtomicBool::new(false) }
    }

    /// How many bytes the partitions hold now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// A partition's share of the budget.
#[derive(Debug)]
pub struct Share {
    budget: ByteBudget,
    holds: AtomicUsize,
    /// The last check found no room.
    is_refused: AtomicBool,
}

impl Share {
    /// Whether to take in another record.
    pub fn has_room(&self) -> bool {
        let Shared { limit, used, partitions, .. } = &*self.budget.0;
        let (holds, half) = (self.holds.load(Ordering::Relaxed), limit / 2);
        // At least one: this share's own partition.
        let part = half / partitions.load(Ordering::Relaxed).max(1);
        let room = holds == 0 || used.load(Ordering::Relaxed) < half || holds < part;
        self.is_refused.store(!room, Ordering::Relaxed);
        room
    }

    /// Whether the last check found no room. There may be room by now.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Sets how much the partition holds now.
    pub fn holds(&self, bytes: usize) {
        let Shared { limit, used, freed, .. } = &*self.budget.0;
        let held = self.holds.swap(bytes, Ordering::Relaxed);
        if bytes > held {
            used.fetch_add(bytes - held, Ordering::Relaxed);
        } else if bytes < held {
            let before = used.fetch_sub(held - bytes, Ordering::Relaxed);
            // No partition waits while less than half is used.
            if before >= limit / 2 {
                freed.notify_waiters();
            }
        }
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            // Created before the check, so that bytes freed in between wake it.
            let freed = self.budget.0.freed.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holds(0);
        self.budget.0.partitions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// A partition takes in a record of this size, if it may.
        Take(usize, usize),
        /// A partition finishes this much of what it holds.
        Finish(usize, usize),
        /// A partition is revoked and comes back empty.
        Revoke(usize),
    }

    fn steps(partitions: usize) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..partitions, 1..LARGEST).prop_map(|(of, bytes)| Step::Take(of, bytes)),
            2 => (0..partitions, 1..3 * LARGEST).prop_map(|(of, bytes)| Step::Finish(of, bytes)),
            1 => (0..partitions).prop_map(Step::Revoke),
        ];
        prop::collection::vec(step, 0..400)
    }

    fn of_share(share: &Share) -> usize {
        share.holds.load(Ordering::Relaxed)
    }

    const LIMIT: usize = 1_000;
    const LARGEST: usize = 300;

    proptest! {
        /// At every step the total is bounded, the count is exact, and a partition that holds nothing may take a
        /// record. When everything is finished, every partition has room again.
        #[test]
        fn it_is_kept_and_nobody_waits_for_ever((partitions, steps) in (1..6_usize).prop_flat_map(|n| (Just(n), steps(n)))) {
            let budget = ByteBudget::new(LIMIT);
            let mut shares: Vec<_> = (0..partitions).map(|_| budget.join()).collect();
            for step in steps {
                match step {
                    Step::Take(of, bytes) if shares[of].has_room() => {
                        shares[of].holds(of_share(&shares[of]) + bytes);
                    }
                    Step::Take(of, _) => {
                        // It only waits if it uses up its own part.
                        prop_assert!(of_share(&shares[of]) >= LIMIT / 2 / partitions && budget.used() >= LIMIT / 2);
                    }
                    Step::Finish(of, bytes) => {
                        shares[of].holds(of_share(&shares[of]).saturating_sub(bytes));
                    }
                    Step::Revoke(of) => {
                        let before = std::mem::replace(&mut shares[of], budget.join());
                        drop(before);
                    }
                }
                let held: usize = shares.iter().map(of_share).sum();
                prop_assert_eq!(budget.used(), held);
                prop_assert!(held <= LIMIT + partitions * LARGEST, "{}", held);
                prop_assert!(shares.iter().all(|share| of_share(share) > 0 || share.has_room()));
            }
            shares.iter().for_each(|share| share.holds(0));
            prop_assert!(shares.iter().all(Share::has_room));
            drop(shares);
            prop_assert_eq!((budget.used(), budget.0.partitions.load(Ordering::Relaxed)), (0, 0));
        }
    }

    /// A partition that holds much, and another one that waits for room.
    fn full() -> (Share, Share) {
        let budget = ByteBudget::new(100);
        let (large, other) = (budget.join(), budget.join());
        large.holds(90);
        other.holds(30);
        assert!(!large.has_room() && !other.has_room());
        (large, other)
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_of_it() {
        let (large, other) = full();
        // The wait begins before anything is freed.
        tokio::join!(other.room(), async { large.holds(0) });
        assert!(other.has_room());
    }

    #[test]
    fn what_is_freed_between_the_look_and_the_wait_is_not_missed() {
        let (large, other) = full();
        large.holds(0);
        assert!(other.is_refused(), "it goes by its last look");
        assert_eq!(other.room().now_or_never(), Some(()));
        assert!(!other.is_refused());
    }
}
