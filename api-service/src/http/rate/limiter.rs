//! A token bucket for each subject (GCRA, by `governor`).

mod refunds;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use self::refunds::Refunds;

/// The most subjects that a limiter keeps after a cleanup, which removes those whose bucket is full again. With those
/// that come before the next cleanup there are up to 125,000: some 16 MiB with names of usual length.
const MOST: usize = 100_000;
/// The least number of charges between two cleanups; a quarter of the number of subjects, if that is more.
const LOOK_EVERY: u32 = 1_024;

type Buckets<C> = RateLimiter<Box<str>, HashMapStateStore<Box<str>>, C, StateInformationMiddleware>;

/// The state of a subject's bucket after a request: the fields of `RateLimit` and `RateLimit-Policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub policy: &'static str,
    /// The size of the bucket.
    pub quota: u32,
    /// How many seconds an empty bucket takes to be full.
    pub window: u64,
    pub remaining: u32,
    /// In how many seconds the bucket is full, at most.
    pub reset: u64,
}

/// Why a request is refused. A refused request takes nothing from the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The bucket does not have enough: in how many seconds it will, unless other requests take from it.
    Until(u64, Standing),
    /// The request needs more than a full bucket has.
    Never(Standing),
}

pub(super) struct Limiter<C: Clock = DefaultClock> {
    policy: &'static str,
    burst: NonZeroU32,
    /// The time in which the bucket gains one.
    cost: Duration,
    clock: C,
    buckets: ArcSwap<Buckets<C>>,
    refunds: Refunds<C::Instant>,
    /// The number of charges before the next cleanup.
    until_look: AtomicU32,
}

impl Limiter {
    /// `per_second` on average, and `burst` at once. `None` for 0 a second: no limit.
    pub(super) fn new(policy: &'static str, per_second: u32, burst: u32) -> Option<Self> {
        Self::with_clock(policy, per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(policy: &'static str, per_second: u32, burst: u32, clock: C) -> Option<Self> {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(NonZeroU32::new(per_second)?).allow_burst(burst);
        let cost = quota.replenish_interval();
        let buckets = ArcSwap::from_pointee(buckets(quota, clock.clone()));
        let refunds = Refunds::new(cost.saturating_mul(burst.get()));
        Some(Self { policy, burst, cost, clock, buckets, refunds, until_look: AtomicU32::new(LOOK_EVERY) })
    }

    /// Takes `count` from a subject's bucket.
    pub(super) fn charge(&self, subject: &str, count: NonZeroU32) -> Result<Standing, Refused> {
        self.make_room();
        let buckets = self.buckets.load();
        // Nothing is refunded to what never fits, and the bucket itself has to give something, because it says what is
        // left in it.
        let most = if count > self.burst { 0 } else { count.get() - 1 };
        let (refund, left) = self.refunds.take(subject, most, self.clock.now());
        let cost = NonZeroU32::new(count.get().saturating_sub(refund)).unwrap_or(NonZeroU32::MIN);
        match buckets.check_key_n(&Box::from(subject), cost) {
            Ok(Ok(after)) => Ok(self.standing(after.remaining_burst_capacity().saturating_add(left))),
            Ok(Err(until)) => {
                let now = self.clock.now();
                self.refunds.add(subject, refund, now);
                let wait = until.wait_time_from(now);
                let missing = wait.as_nanos().div_ceil(self.cost.as_nanos().max(1));
                let remaining = count.get().saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
                Err(Refused::Until(seconds(wait).max(1), self.standing(remaining)))
            }
            // `governor` does not return the state of the bucket here; only the policy matters.
            Err(_) => Err(Refused::Never(self.standing(self.burst.get()))),
        }
    }

    /// Gives back what a request was charged for and did not get; returns the state after it.
    pub(super) fn refund(&self, subject: &str, count: u32, before: Standing) -> Standing {
        self.refunds.add(subject, count, self.clock.now());
        self.standing(before.remaining.saturating_add(count))
    }

    fn standing(&self, remaining: u32) -> Standing {
        let quota = self.burst.get();
        let remaining = remaining.min(quota);
        let window = seconds(self.cost.saturating_mul(quota)).max(1);
        let reset = seconds(self.cost.saturating_mul(quota.saturating_sub(remaining)));
        Standing { policy: self.policy, quota, window, remaining, reset }
    }

    /// Removes, from time to time, the subjects whose bucket is full again.
    fn make_room(&self) {
        // Charges during a cleanup wrap the counter below 0, so that none of them starts another.
        if self.until_look.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        let known = self.buckets.load();
        known.retain_recent();
        let count = known.len();
        self.until_look.store(u32::try_from(count / 4).unwrap_or(u32::MAX).max(LOOK_EVERY), Ordering::Relaxed);
        if count > MOST {
            // So many active subjects are not normal: drop all buckets rather than use more memory.
            metrics::counter!("rate_limit_forgotten_total").increment(count as u64);
            let quota = Quota::with_period(self.cost).map(|quota| quota.allow_burst(self.burst));
            if let Some(quota) = quota {
                self.buckets.store(buckets(quota, self.clock.clone()).into());
            }
        }
    }
}

fn buckets<C: Clock>(quota: Quota, clock: C) -> Buckets<C> {
    RateLimiter::hashmap_with_clock(quota, clock).with_middleware()
}

fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
