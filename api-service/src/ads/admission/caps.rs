//! The caps of users: for each campaign, user and day a set of the ids of impressions, in Redis.
//!
//! That a set is absent means that it is empty only if Redis cannot have lost it. So every incarnation of Redis is noted
//! in PostgreSQL when it is first met. One that is younger than a set knows it once it is filled with the ids that
//! PostgreSQL has; and PostgreSQL has all of them once the incarnation is proven.

mod day_before;
mod met;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use metrics::counter;
use shared::ads::caps::set_name;
use shared::ads::queries::{self, Incarnation, server_and_term};
use shared::ads::{CampaignId, UserId};
use shared::cache::{self, Added, Entry, IdSets, MetIncarnation, NewId};
use shared::kafka::ids::EventId;
use shared::runtime::sabotage::makes;
use shared::store::Store;
use time::{Date, OffsetDateTime};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use self::met::{Met, Noted};
use super::Asks;
use super::book::Cap;
use super::outage::Outage;
use super::releases::Releases;

/// How often Redis is asked for its incarnation. If another one answers, it is asked at once.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// The most sets that are filled at the same time: each needs a connection to PostgreSQL.
const FILLS: usize = 4;
/// For how long all fills of a request wait for their turn.
const FILL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a set is kept after its day.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// The wait after a failed release.
const RELEASE_AGAIN: Duration = Duration::from_millis(250);
/// How long releases may take at the end.
const END: Duration = Duration::from_secs(2);

pub(super) struct Caps {
    sets: IdSets,
    store: Store,
    met: Mutex<Met>,
    fills: Semaphore,
    releases: Releases,
    asking: Outage,
    noting: Outage,
}

/// An impression of a capped campaign.
pub(super) struct Impression<'a> {
    campaign: CampaignId,
    user: &'a UserId,
    day: Date,
    pub(super) new: NewId,
}

/// The answer for an impression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capped {
    New,
    /// Its id was there already.
    There,
    Full,
    /// Nobody can tell.
    Unsure,
}

impl Caps {
    pub(super) fn new(sets: IdSets, store: Store) -> Self {
        Self {
            sets,
            store,
            met: Mutex::default(),
            fills: Semaphore::new(FILLS),
            releases: Releases::default(),
            asking: Outage::of("ask the Redis of the caps for its incarnation: capped campaigns get no impressions"),
            noting: Outage::of("note the incarnation of the caps' Redis: capped campaigns get no impressions"),
        }
    }

    /// Whether Redis evicts keys: then it proves nothing for long, and the worker alone keeps the caps.
    pub(super) fn are_evicted(&self) -> bool {
        self.met().evicts.unwrap_or_default()
    }

    /// Adds the ids of impressions to the sets of their users: one answer for each, in order.
    pub(super) async fn add(&self, impressions: &[Impression<'_>]) -> Vec<Capped> {
        let ids: Vec<_> = impressions.iter().map(|impression| impression.new.clone()).collect();
        let mut answers = self.sets.add(&ids).await;
        let unknown = answers.iter().map(|answer| match answer {
            Added::Unknown(serial) => Some(*serial),
            Added::There | Added::New | Added::Full | Added::Unsure => None,
        });
        let again = self.fill_unknown(impressions, unknown.collect()).await;
        if !again.is_empty() {
            put(&mut answers, &again, self.sets.add(&picked(&ids, &again)).await);
        }
        let answers: Vec<_> = answers.into_iter().map(Capped::of).collect();
        let unsure = answers.iter().filter(|answer| **answer == Capped::Unsure).count();
        if unsure > 0 {
            counter!("ads_caps_unsure_total").increment(unsure as u64);
        }
        answers
    }

    /// Fills the sets that the incarnations with these serials do not know, if PostgreSQL has all of their ids. Returns
    /// the impressions to ask for again.
    async fn fill_unknown(&self, impressions: &[Impression<'_>], serials: Vec<Option<i64>>) -> Vec<usize> {
        let can_be_known = |serial: Option<i64>| serial.is_some_and(|serial| self.met().proven.contains(&serial));
        let again: Vec<_> =
            serials.into_iter().enumerate().filter(|(_, serial)| can_be_known(*serial)).map(|(at, _)| at).collect();
        if !again.is_empty() {
            self.fill(again.iter().filter_map(|at| impressions.get(*at))).await;
        }
        again
    }

    /// Fills the sets of these impressions with the ids that PostgreSQL has, as far as there is time.
    async fn fill<'a>(&self, impressions: impl Iterator<Item = &'a Impression<'a>>) {
        let sets: HashMap<_, _> = impressions.map(|it| ((it.campaign, it.user, it.day), it)).collect();
        let mut fills = Vec::with_capacity(sets.len());
        for impression in sets.into_values() {
            fills.push(self.fill_one(impression));
        }
        let all = stream::iter(fills).buffer_unordered(FILLS).for_each(async |()| ());
        let _ = timeout(FILL_TIMEOUT, all).await;
    }

    async fn fill_one(&self, impression: &Impression<'_>) {
        let Ok(_permit) = self.fills.acquire().await else { return };
        let &Impression { campaign, user, day, ref new } = impression;
        match queries::accepted_impressions(&self.store, campaign, user, day).await {
            Ok(ids) => drop(self.sets.fill(new, &ids).await),
            Err(error) => tracing::debug!(%error, %campaign, "cannot read the impressions of a user"),
        }
    }

    /// Notes the incarnations of Redis, forever.
    pub(super) async fn watch(&self) {
        loop {
            let has_answered = match self.sets.incarnations().await {
                Ok(met) => {
                    self.asking.worked();
                    self.warn(&met);
                    self.note(met).await
                }
                Err(error) => {
                    self.asking.failed(error);
                    false
                }
            };
            sleep(PAUSE).await;
            let next = if has_answered { EVERY - PAUSE } else { PAUSE };
            let _ = timeout(next, self.sets.met_another()).await;
        }
    }

    /// Says once if this Redis evicts keys.
    fn warn(&self, met: &[MetIncarnation]) {
        let is_new = self.met().learn_policy(met);
        if let Some(MetIncarnation { policy, .. }) = met.iter().find(|one| one.evicts()).filter(|_| is_new) {
            tracing::warn!(
                policy,
                "the Redis of the caps evicts keys if it has no memory: caps then rest on the worker alone. Set \
                 AD_REDIS_URL to one with maxmemory-policy noeviction"
            );
        }
    }

    /// Notes what answers. False if something could not be noted.
    async fn note(&self, all: Vec<MetIncarnation>) -> bool {
        let mut is_complete = true;
        let all_to_note: Vec<_> = {
            let mut met = self.met();
            let now = Instant::now();
            all.iter().filter_map(|one| Some((one, met.must_note(one, now)?))).collect()
        };
        // What is over must not answer meanwhile.
        self.trust(&all);
        for (one, over) in all_to_note {
            match queries::note_incarnation(&self.store, &one.id, over).await {
                Ok(incarnation) => {
                    self.noting.worked();
                    self.noted(one, incarnation);
                }
                Err(error) => {
                    self.noting.failed(error);
                    is_complete = false;
                }
            }
        }
        self.trust(&all);
        is_complete
    }

    /// The incarnations that may answer from now on.
    fn trust(&self, answering: &[MetIncarnation]) {
        let mut met = self.met();
        met.compare(answering);
        let trusted = met.noted.iter().filter(|(_, noted)| !noted.is_over).map(|(id, noted)| {
            let &Noted { incarnation: Incarnation { serial, seen_at, .. }, commands, .. } = noted;
            (id.clone(), cache::Incarnation { serial, seen_at, commands })
        });
        self.sets.note(trusted.collect());
    }

    fn noted(&self, one: &MetIncarnation, incarnation: Incarnation) {
        let mut met = self.met();
        if incarnation.is_proven {
            met.proven.insert(incarnation.serial);
        }
        let noted = Noted { incarnation, commands: one.commands, is_over: false };
        let before = met.noted.insert(one.id.clone(), noted);
        if before.is_none_or(|before| before.incarnation.serial != incarnation.serial) {
            met.noted_at.insert(server_and_term(&one.id).to_owned(), Instant::now());
            counter!("ads_cap_incarnations_total").increment(1);
            tracing::info!(serial = incarnation.serial, "met an incarnation of the caps' Redis");
        }
    }

    /// An id that was added, or may have been, is to be released.
    pub(super) fn release(&self, entry: Arc<Entry>) {
        self.releases.push(entry);
    }

    /// Releases ids, forever.
    pub(super) async fn send_releases(&self) {
        loop {
            let next = self.releases.next().await;
            if self.sets.release(&next).await {
                self.releases.done(next.len());
            } else {
                sleep(RELEASE_AGAIN).await;
            }
        }
    }

    /// Releases what is left.
    pub(super) async fn end(&self) {
        let all = async {
            loop {
                let next = self.releases.now();
                if next.is_empty() {
                    return;
                }
                if self.sets.release(&next).await {
                    self.releases.done(next.len());
                } else {
                    sleep(RELEASE_AGAIN).await;
                }
            }
        };
        let _ = timeout(END, all).await;
        self.releases.give_up();
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn picked(ids: &[NewId], places: &[usize]) -> Vec<NewId> {
    places.iter().filter_map(|at| ids.get(*at).cloned()).collect()
}

/// Replaces the answers at these places.
fn put<A>(answers: &mut [A], places: &[usize], new: Vec<A>) {
    for (at, new) in places.iter().zip(new) {
        if let Some(answer) = answers.get_mut(*at) {
            *answer = new;
        }
    }
}

impl Capped {
    fn of(answer: Added) -> Self {
        match answer {
            Added::New => Self::New,
            Added::There => Self::There,
            Added::Full => Self::Full,
            Added::Unknown(_) | Added::Unsure => Self::Unsure,
        }
    }
}

impl<'a> Impression<'a> {
    /// An impression that is admitted on this day.
    pub(super) fn new(caps: &Caps, asks: &Asks<'a>, day: Date, cap: Cap, now: Instant) -> Self {
        let &Asks { campaign, user, id, .. } = asks;
        let set = set_name(campaign, user, day);
        let id = if makes("counted-tries") { EventId::generate() } else { id.clone() };
        let new = NewId {
            entry: caps.sets.entry(&set, id),
            most: cap.most,
            since: if makes("trusted-absence") { OffsetDateTime::now_utc() } else { cap.day_begins },
            ttl: cap.day_ends.saturating_duration_since(now) + KEPT,
        };
        Self { campaign, user, day, new }
    }
}

#[cfg(test)]
impl Caps {
    /// As if this incarnation were noted, and proven.
    pub(super) fn prove(&self, id: &str, seen_at: OffsetDateTime) {
        let met = MetIncarnation { id: id.to_owned(), policy: String::new(), commands: 0 };
        self.noted(&met, Incarnation { serial: 1, seen_at, is_proven: true });
        self.trust(&[met]);
    }
}
