//! The book of what this instance may spend: for each campaign in use its facts and its leases. It does no I/O, and
//! times are arguments.
//!
//! A unit, the price of one event, is taken from a lease that may still be used, and comes back at most once. What is
//! left of leases that have ended, or that their campaign does not need, goes back to PostgreSQL.

mod account;
mod demand;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared::ads::queries::{Granted, Scope, State, Want};
use shared::ads::{AdEventType, CampaignId, Nanos};
use time::{Date, OffsetDateTime};

use self::account::Account;

const SHARDS: usize = 16;
/// From this number of campaigns on, a question takes no further shard; a shard is asked for as a whole.
const MOST_WANTS: usize = 1_000;

/// What an event may use.
#[derive(Debug)]
pub(super) struct Ticket {
    /// What pays for it; none if it is free.
    pub(super) unit: Option<Unit>,
    /// The campaign's day in which it is admitted.
    pub(super) day: Date,
    pub(super) cost: Nanos,
    /// The cap of an impression.
    pub(super) cap: Option<Cap>,
    /// It has to be on its way to Kafka before then.
    pub(super) until: Instant,
}

/// The price of one event, from a lease.
#[derive(Debug)]
#[must_use]
pub(super) struct Unit {
    campaign: CampaignId,
    lease: Arc<str>,
    amount: Nanos,
}

impl Unit {
    pub(super) fn lease(&self) -> &str {
        &self.lease
    }
}

/// The most impressions of a user in a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cap {
    pub(super) most: u32,
    /// No impression of this day was accepted before.
    pub(super) day_begins: OffsetDateTime,
    pub(super) day_ends: Instant,
    /// None if the campaign is not older than this day.
    pub(super) day_before: Option<DayBefore>,
    /// An impression is accepted although nobody can tell how many there were.
    pub(super) allow_unsure: bool,
}

/// The day before a campaign's day.
#[derive(Debug, Clone, Copy)]
pub(super) struct DayBefore {
    pub(super) day: Date,
    /// No impression of it was accepted before.
    pub(super) begins: OffsetDateTime,
    /// Until then the repeats of its impressions are many.
    pub(super) repeated_until: Instant,
    /// Until then PostgreSQL may not have all of its impressions.
    pub(super) applied_by: Instant,
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ads) enum Refusal {
    NotFound,
    NotActive(State),
    Exhausted { scope: Scope, retry_after: Option<u32> },
    Paced { retry_after: u32 },
}

/// The answer for an event.
#[derive(Debug)]
pub(super) enum Taken {
    Ticket(Ticket),
    Refused(Refusal),
    /// What decides about it has to be asked for.
    Wait,
}

/// What goes back to PostgreSQL, by lease.
type Returns = HashMap<Arc<str>, Nanos>;

#[derive(Debug, Default)]
struct Shard {
    accounts: HashMap<CampaignId, Account>,
    returns: Returns,
}

/// Locked in parts, by campaign.
#[derive(Debug, Default)]
pub(super) struct Book {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// Where the next question begins.
    next: AtomicUsize,
}

impl Book {
    /// Takes what an event needs. `is_first` is false for an event that has waited.
    pub(super) fn take(&self, campaign: CampaignId, event_type: AdEventType, is_first: bool, now: Instant) -> Taken {
        let mut shard = self.shard(campaign);
        let account = shard.accounts.entry(campaign).or_insert_with(|| Account::new(campaign, now));
        if is_first {
            account.note(event_type, now);
        }
        account.take(event_type, now)
    }

    /// A unit comes back, because its event was certainly not sent.
    pub(super) fn give(&self, unit: Unit, now: Instant) {
        let Unit { campaign, lease, amount } = unit;
        let mut shard = self.shard(campaign);
        let account = shard.accounts.get_mut(&campaign);
        if !account.is_some_and(|account| account.give(&lease, amount, now)) {
            put_back(&mut shard.returns, &lease, amount);
        }
    }

    /// What to ask of PostgreSQL now.
    pub(super) fn wants(&self, now: Instant) -> Vec<Want> {
        let mut wants = Vec::new();
        let first = self.next.load(Ordering::Relaxed);
        for place in first..first + SHARDS {
            let Some(shard) = self.shards.get(place % SHARDS) else { continue };
            if wants.len() >= MOST_WANTS {
                // The next question begins here.
                self.next.store(place % SHARDS, Ordering::Relaxed);
                break;
            }
            let mut shard = locked(shard);
            let Shard { accounts, returns } = &mut *shard;
            accounts.retain(|campaign, account| {
                account.expire(now, returns);
                if let Some(amount) = account.want(now) {
                    wants.push(Want { campaign: *campaign, amount });
                    return true;
                }
                !account.is_idle(now)
            });
        }
        wants
    }

    /// What could not go back to PostgreSQL goes back later.
    pub(super) fn returned(&self, campaign: CampaignId, leases: Vec<(String, Nanos)>) {
        let mut shard = self.shard(campaign);
        for (lease, amount) in leases {
            put_back(&mut shard.returns, &lease.into(), amount);
        }
    }

    /// The answer for a campaign that was asked for at this time; `None`: there is no such campaign.
    pub(super) fn granted(&self, campaign: CampaignId, granted: Option<Granted>, asked_at: Instant, now: Instant) {
        let mut shard = self.shard(campaign);
        let Shard { accounts, returns } = &mut *shard;
        let account = accounts.entry(campaign).or_insert_with(|| Account::new(campaign, now));
        account.granted(asked_at, now, granted, returns);
    }

    /// The campaigns whose facts are in use.
    pub(super) fn open(&self, now: Instant) -> Vec<CampaignId> {
        let mut open = Vec::new();
        for shard in &self.shards {
            let shard = locked(shard);
            open.extend(shard.accounts.iter().filter(|(_, account)| account.is_open(now)).map(|(id, _)| *id));
        }
        open
    }

    /// The present revision of a campaign; `None`: there is no such campaign.
    pub(super) fn revised(&self, campaign: CampaignId, revision: Option<i64>) {
        if let Some(account) = self.shard(campaign).accounts.get_mut(&campaign) {
            account.revised(revision);
        }
    }

    /// What goes back to PostgreSQL, each lease once. Whoever takes it has to send it, once.
    pub(super) fn returns(&self) -> Vec<(String, Nanos)> {
        let mut returns = Vec::new();
        for shard in &self.shards {
            let of_shard = std::mem::take(&mut locked(shard).returns);
            returns.extend(of_shard.into_iter().map(|(lease, amount)| (lease.to_string(), amount)));
        }
        returns
    }

    /// Lets go of all leases, at the end.
    pub(super) fn close(&self) {
        for shard in &self.shards {
            let mut shard = locked(shard);
            let Shard { accounts, returns } = &mut *shard;
            for (_, mut account) in accounts.drain() {
                account.leave(returns);
            }
        }
    }

    fn shard(&self, campaign: CampaignId) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(campaign) % SHARDS as u64).unwrap_or_default();
        // The remainder is an index.
        let [first, ..] = &self.shards;
        locked(self.shards.get(hash).unwrap_or(first))
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_back(returns: &mut Returns, lease: &Arc<str>, amount: Nanos) {
    if amount > Nanos::ZERO {
        let all = returns.entry(Arc::clone(lease)).or_default();
        *all = all.checked_add(amount).unwrap_or(*all);
    }
}
