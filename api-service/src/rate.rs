//! How much a subject may ask of this instance: a token bucket for each (GCRA), kept as the one
//! time at which it will be full again. Pure: no clock of its own.
//!
//! Each instance counts for itself: behind a load balancer with n of them a subject may have up to
//! n times as much.

mod account;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use self::account::{Account, Kind, Rates, announce};

const SHARDS: usize = 16;
/// The most subjects that a shard knows: 131,072 in all, some 16 MiB with names of usual length.
const MOST: usize = 8192;
/// How many there are at least when the idle ones are looked for.
const SWEEP: usize = 256;

/// How a subject stands after a request: the fields of `RateLimit` and `RateLimit-Policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The policy's name.
    pub policy: &'static str,
    /// How much a full bucket has.
    pub quota: u32,
    /// How many seconds an empty one takes to be full.
    pub window: u64,
    /// How much is left.
    pub remaining: u64,
    /// In how many seconds it is full.
    pub reset: u64,
    /// Of a refused request: in how many seconds it would be taken.
    pub retry_after: Option<u64>,
}

/// The one that a request took when it was let in: when the bucket was to be full again, right
/// behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken(Duration);

#[derive(Default)]
struct Shard {
    /// When each subject's bucket is full again. Who is not here has a full one.
    full_at: HashMap<Box<str>, Duration>,
    sweep_at: usize,
}

/// A bucket for each subject.
pub struct Limiter {
    policy: &'static str,
    quota: u32,
    /// What one costs, in time.
    cost: Duration,
    shards: [Mutex<Shard>; SHARDS],
    hasher: std::hash::RandomState,
}

impl Limiter {
    /// So many a second, and so many at once. None for 0 a second: no limit.
    pub fn new(policy: &'static str, per_second: u32, burst: u32) -> Option<Self> {
        let cost = Duration::from_secs(1).checked_div(per_second)?;
        let (shards, hasher) = (Default::default(), std::hash::RandomState::new());
        Some(Self { policy, quota: burst.max(1), cost, shards, hasher })
    }

    /// Takes `count` from a subject's bucket at a time since some beginning; of a request that was
    /// let in by one, with that one. What is more than a bucket ever holds is let through by a full
    /// one, and paid off afterwards.
    ///
    /// # Errors
    /// There is not enough in it. Nothing is taken, and the one is given back.
    pub fn charge(
        &self,
        subject: &str,
        one: Option<Taken>,
        count: u32,
        now: Duration,
    ) -> Result<(Taken, Standing), Standing> {
        use std::hash::BuildHasher as _;
        let hash = usize::try_from(self.hasher.hash_one(subject) % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(hash) else { return Ok((Taken(now), self.standing(now, now))) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);

        let found = shard.full_at.get(subject).copied().unwrap_or_default();
        // Where nobody came between, it is as if the one had never been taken. Else what of it has
        // come back since is not known: it stays taken, and only the others are missing.
        let undone = one.is_some_and(|Taken(full_at)| full_at == found);
        let before = found.saturating_sub(if undone { self.cost } else { Duration::ZERO }).max(now);
        let had = u32::from(one.is_some() && !undone);
        let over = |count: u32| {
            let missing = before.saturating_sub(now) + self.cost.saturating_mul(count);
            missing.saturating_sub(self.cost.saturating_mul(self.quota))
        };
        let needed = count.min(self.quota);
        if !over(needed.saturating_sub(had)).is_zero() {
            shard.set(subject, before, now);
            return Err(Standing { retry_after: Some(ceil(over(needed))), ..self.standing(before, now) });
        }
        let after = before.saturating_add(self.cost.saturating_mul(count.saturating_sub(had)));
        shard.set(subject, after, now);
        Ok((Taken(after), self.standing(after, now)))
    }

    fn standing(&self, full_at: Duration, now: Duration) -> Standing {
        let whole = self.cost.saturating_mul(self.quota);
        let missing = full_at.saturating_sub(now);
        let left = whole.saturating_sub(missing).as_nanos() / self.cost.as_nanos().max(1);
        Standing {
            policy: self.policy,
            quota: self.quota,
            window: ceil(whole).max(1),
            remaining: u64::try_from(left).unwrap_or(u64::MAX),
            reset: ceil(missing),
            retry_after: None,
        }
    }
}

impl Shard {
    fn set(&mut self, subject: &str, when: Duration, now: Duration) {
        if let Some(full_at) = self.full_at.get_mut(subject) {
            *full_at = when;
        } else {
            self.make_room(now);
            self.full_at.insert(subject.into(), when);
        }
    }

    /// Forgets who has a full bucket again, whenever their number has doubled.
    fn make_room(&mut self, now: Duration) {
        if self.full_at.len() < self.sweep_at.clamp(SWEEP, MOST) {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= MOST {
            // So many at once are no ordinary subjects: all begin anew, rather than grow.
            metrics::counter!("rate_limit_forgotten_total").increment(self.full_at.len() as u64);
            self.full_at.clear();
        }
        self.sweep_at = self.full_at.len() * 2;
    }
}

fn ceil(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
