//! The bytes of records that all partitions of all groups of this process hold: in hand, held, or on their way to the
//! dead-letter topic. A partition over the budget takes nothing in, and what it does goes on; the client stops fetching
//! for it by itself, and nothing else waits.
//!
//! Half of the budget is for whoever comes first. Of the other half each partition has its part, so that however much
//! others hold it always goes on, and the whole is never exceeded by more than a record for each partition.

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
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        let (used, partitions) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Shared { limit, used, partitions, freed: Notify::new() }))
    }

    /// The part of a partition that begins, until that is dropped.
    pub fn join(&self) -> Share {
        self.0.partitions.fetch_add(1, Ordering::Relaxed);
        Share { budget: self.clone(), holds: AtomicUsize::new(0), is_refused: AtomicBool::new(false) }
    }

    /// How many bytes partitions hold now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// What a partition holds of the budget.
#[derive(Debug)]
pub struct Share {
    budget: ByteBudget,
    holds: AtomicUsize,
    /// The last look found no room.
    is_refused: AtomicBool,
}

impl Share {
    /// Whether to take in another record.
    pub fn has_room(&self) -> bool {
        let Shared { limit, used, partitions, .. } = &*self.budget.0;
        let (holds, half) = (self.holds.load(Ordering::Relaxed), limit / 2);
        // This one is a partition, so that there is one at least.
        let part = half / partitions.load(Ordering::Relaxed).max(1);
        let room = holds == 0 || used.load(Ordering::Relaxed) < half || holds < part;
        self.is_refused.store(!room, Ordering::Relaxed);
        room
    }

    /// Whether the last look found no room. There may be some by now.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// It holds so much now.
    pub fn holds(&self, bytes: usize) {
        let Shared { limit, used, freed, .. } = &*self.budget.0;
        let held = self.holds.swap(bytes, Ordering::Relaxed);
        if bytes > held {
            used.fetch_add(bytes - held, Ordering::Relaxed);
        } else if bytes < held {
            let before = used.fetch_sub(held - bytes, Ordering::Relaxed);
            // Below that nobody waits.
            if before >= limit / 2 {
                freed.notify_waiters();
            }
        }
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            // Made before the look: what is freed between the two wakes it.
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
        /// A partition is done with so much of what it holds.
        Finish(usize, usize),
        /// A partition is revoked, and comes back with nothing.
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
        /// Whatever comes and goes: the whole is bounded, what is counted is what is held, a partition that holds nothing
        /// may always take one, and where all is finished there is room for all again.
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
                        // It waits for itself at the most: it has its part.
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

    /// A partition that holds much, and another one that waits for it.
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
        // It waits before anything is freed.
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
