//! The caps of users: for each campaign, user and day a set of the ids of impressions, in Redis.
//!
//! That a set is absent means that it is empty only if Redis cannot have lost it. So every incarnation of Redis is noted
//! in PostgreSQL when it is first met. One that is younger than a set knows it once it is filled with the ids that
//! PostgreSQL has; and PostgreSQL has all of them once the incarnation is proven.

mod day_before;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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

use super::Asks;
use super::book::Cap;
use super::outage::Outage;
use super::releases::Releases;

/// How often Redis is asked for its incarnation. If another one answers, it is asked at once.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// A server that evicts keys again and again gets no new incarnation more often than this.
const APART: Duration = Duration::from_secs(5);
/// The most incarnations that are remembered besides those that answer.
const MOST_AWAY: usize = 64;
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
    /// Whether Redis evicted keys if it had no memory, when this instance started.
    evicts: OnceLock<bool>,
    fills: Semaphore,
    releases: Releases,
    asking: Outage,
    noting: Outage,
}

/// The incarnations that this instance met.
#[derive(Default)]
struct Met {
    noted: HashMap<String, Noted>,
    proven: HashSet<i64>,
    /// By server and term: when an incarnation was noted last.
    noted_at: HashMap<String, Instant>,
}

struct Noted {
    incarnation: Incarnation,
    /// How many commands its server had processed then.
    commands: u64,
    /// Its server has had another one since, or its counters began anew: what has its id now is another incarnation.
    is_over: bool,
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
            evicts: OnceLock::new(),
            fills: Semaphore::new(FILLS),
            releases: Releases::default(),
            asking: Outage::of("ask the Redis of the caps for its incarnation: capped campaigns get no impressions"),
            noting: Outage::of("note the incarnation of the caps' Redis: capped campaigns get no impressions"),
        }
    }

    /// Whether Redis evicts keys: then it proves nothing for long, and the worker alone keeps the caps.
    pub(super) fn are_evicted(&self) -> bool {
        self.evicts.get().is_some_and(|evicts| *evicts)
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
        if self.evicts.get().is_some() {
            return;
        }
        let evicting = met.iter().find(|one| one.evicts());
        let _ = self.evicts.set(evicting.is_some());
        if let Some(MetIncarnation { policy, .. }) = evicting {
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

impl Met {
    /// Whether to note an incarnation, and the serial that it had before it was over. One that is known is looked up again
    /// and again: another instance may have met one after it.
    fn must_note(&mut self, one: &MetIncarnation, now: Instant) -> Option<Option<i64>> {
        if let Some(known) = self.noted.get_mut(&one.id) {
            known.is_over |= one.commands < known.commands;
            known.commands = one.commands;
            return Some(known.is_over.then_some(known.incarnation.serial));
        }
        let at = self.noted_at.get(server_and_term(&one.id));
        at.is_none_or(|at| now.saturating_duration_since(*at) >= APART).then_some(None)
    }

    /// Incarnations whose server has another one now are over. A server that does not answer may come back.
    fn compare(&mut self, answering: &[MetIncarnation]) {
        let is_current = |id: &str| answering.iter().any(|one| one.id == id);
        let servers: HashSet<_> = answering.iter().map(|one| server_and_term(&one.id)).collect();
        for (id, noted) in &mut self.noted {
            noted.is_over |= !is_current(id) && servers.contains(server_and_term(id));
        }
        if self.noted.len() > answering.len() + MOST_AWAY {
            self.noted.retain(|id, _| is_current(id));
        }
        let noted = &self.noted;
        self.proven.retain(|serial| noted.values().any(|known| !known.is_over && known.incarnation.serial == *serial));
        self.noted_at.retain(|server_and_term, at| servers.contains(&**server_and_term) || at.elapsed() < APART);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn met(id: &str, commands: u64) -> MetIncarnation {
        MetIncarnation { id: id.to_owned(), policy: String::new(), commands }
    }

    fn noted(serial: i64) -> Noted {
        let incarnation = Incarnation { serial, seen_at: time::OffsetDateTime::UNIX_EPOCH, is_proven: true };
        Noted { incarnation, commands: 100, is_over: false }
    }

    #[test]
    fn one_whose_counters_began_anew_is_over_until_it_is_noted_again() {
        let (mut all, now) = (Met::default(), Instant::now());
        assert_eq!(all.must_note(&met("a:1:0:x", 100), now), Some(None));
        all.noted.insert("a:1:0:x".to_owned(), noted(3));
        assert_eq!(all.must_note(&met("a:1:0:x", 100), now), Some(None), "another instance may have met a later one");
        assert_eq!(all.must_note(&met("a:1:0:x", 99), now), Some(Some(3)));
        assert_eq!(all.must_note(&met("a:1:0:x", 500), now), Some(Some(3)), "PostgreSQL did not answer then");
        all.noted_at.insert("a:1".to_owned(), now);
        assert_eq!(all.must_note(&met("a:1:7:x", 600), now + APART / 2), None, "it evicts again and again");
        assert_eq!(all.must_note(&met("a:1:7:x", 600), now + APART), Some(None));
    }

    #[test]
    fn of_servers_that_answer_only_the_present_incarnation_is_known() {
        let mut all = Met::default();
        for (serial, id) in ["a:1:0:x", "a:1:1:x", "b:1:0:x", "c:1:0:x"].into_iter().enumerate() {
            all.noted.insert(id.to_owned(), noted(serial as i64));
            all.proven.insert(serial as i64);
        }
        all.compare(&["a:1:1:x", "b:2:0:x"].map(|id| met(id, 1)));
        let trusted = all.noted.iter().filter(|(_, noted)| !noted.is_over);
        let mut known: Vec<_> = trusted.map(|(id, _)| id.as_str()).collect();
        known.sort_unstable();
        assert_eq!(known, ["a:1:1:x", "b:1:0:x", "c:1:0:x"], "b is another term, and c is away");
        assert_eq!(all.proven, HashSet::from([1, 2, 3]));
        assert_eq!(all.must_note(&met("a:1:0:x", 500), Instant::now()), Some(Some(0)), "it never comes back");
    }
}
