//! Events that may be repeats: an event that was accepted once is not refused, and does not count on another day.
//!
//! PostgreSQL has the events that were applied. That an impression is in the set of its user does not mean that Kafka has
//! it: perhaps nobody knows that. So only PostgreSQL's answer makes a 202 without another record.

use std::time::Instant;

use shared::ads::queries::{self, StoredEvent};

use super::book::{Cap, DayBefore, Refusal};
use super::caps::Impression;
use super::{Admission, Asks, Charge, Refused, Slot};

/// An impression that may have been admitted on the day before.
pub(super) struct MayRepeat {
    /// Its index in the request.
    place: usize,
    cap: Cap,
    before: DayBefore,
}

/// What PostgreSQL has of an event.
enum Looked {
    Stored(StoredEvent),
    Nothing,
    /// Another event has its id.
    Another,
    /// It was not asked: there were too many questions.
    NotAsked,
    Failed,
}

impl Admission {
    /// Before a campaign refuses an event with 409: it may be the repeat of one that counts.
    pub(super) async fn check_refused(&self, asks: &[Asks<'_>], slots: &mut [Slot<'_>]) {
        let mut places = Vec::new();
        for (place, (slot, asks)) in slots.iter().zip(asks).enumerate() {
            if let Slot::Refused(Refused::Refusal(refusal)) = slot
                && asks.is_named
                && *refusal != Refusal::NotFound
            {
                places.push((place, *refusal));
            }
        }
        let looked = self.look_up(asks, places.iter().map(|(place, _)| *place)).await;
        for ((place, refusal), looked) in places.into_iter().zip(looked) {
            let Some(slot) = slots.get_mut(place) else { continue };
            match looked {
                Looked::Stored(event) if event.counts => *slot = Slot::Stored(event),
                Looked::Stored(_) | Looked::Nothing | Looked::Another => {}
                Looked::NotAsked => *slot = Slot::Refused(Refused::Unchecked(refusal)),
                Looked::Failed => *slot = Slot::Refused(Refused::Unavailable),
            }
        }
    }

    /// Before impressions are added to the sets of a day that has just begun: they may be repeats of the day before,
    /// and would count once more. Returns those of which nobody knows that: a cap must not refuse them yet.
    pub(super) async fn check_day_before(&self, asks: &[Asks<'_>], slots: &mut [Slot<'_>]) -> Vec<MayRepeat> {
        let now = Instant::now();
        let mut all = Vec::new();
        for (place, (slot, asks)) in slots.iter().zip(asks).enumerate() {
            if let Slot::Has(Charge { ticket, .. }) = slot
                && asks.is_named
                && let Some(cap) = ticket.cap
                && let Some(before) = cap.day_before
            {
                all.push(MayRepeat { place, cap, before });
            }
        }
        let (soon, mut unknown): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| now < it.before.repeated_until);
        unknown.extend(self.check(asks, slots, soon).await);
        unknown
    }

    /// Before a cap refuses impressions that may be repeats of the day before.
    pub(super) async fn check_capped(&self, asks: &[Asks<'_>], slots: &mut [Slot<'_>], mut all: Vec<MayRepeat>) {
        all.retain(|it| matches!(slots.get(it.place), Some(Slot::Refused(Refused::Capped { .. }))));
        self.check(asks, slots, all).await;
    }

    /// Nobody can tell whether these impressions have room, and their campaigns allow that. Notes them in PostgreSQL
    /// before they are admitted: the sets do not have them, and another instance may get their repeats.
    pub(super) async fn note_unsure<'a>(
        &'a self,
        asks: &[Asks<'_>],
        slots: &mut [Slot<'a>],
        all: Vec<(usize, Charge<'a>)>,
    ) {
        let keys: Vec<_> = all.iter().filter_map(|(place, _)| asks.get(*place)).map(Asks::key).collect();
        if keys.is_empty() || queries::note_unsure(&self.store, &keys).await.is_err() {
            return;
        }
        for (place, mut charge) in all {
            // If the set has it all the same, it stays there.
            charge.entry = None;
            if let Some(slot) = slots.get_mut(place) {
                *slot = Slot::Has(charge);
            }
        }
    }

    /// The cap refuses these impressions. Those that were noted are repeats, and are admitted again.
    pub(super) async fn check_noted<'a>(
        &'a self,
        asks: &[Asks<'_>],
        slots: &mut [Slot<'a>],
        all: Vec<(usize, Charge<'a>)>,
    ) {
        let now = Instant::now();
        let (mut capped, mut keys) = (Vec::new(), Vec::new());
        for (place, charge) in all {
            let (Some(slot), Some(asks)) = (slots.get_mut(place), asks.get(place)) else { continue };
            if !matches!(slot, Slot::Refused(Refused::Capped { .. })) {
                continue;
            }
            let refused = std::mem::replace(slot, Slot::Refused(Refused::Unavailable));
            if self.noted.allows(now) {
                capped.push((place, charge, refused));
                keys.push(asks.key());
            }
        }
        if keys.is_empty() {
            return;
        }
        let Ok(noted) = queries::taken_unsure(&self.store, &keys).await else { return };
        for ((place, charge, refused), (campaign, id)) in capped.into_iter().zip(keys) {
            let is_noted = noted.contains(&(campaign, id.as_str().to_owned()));
            if let Some(slot) = slots.get_mut(place) {
                *slot = if is_noted { Slot::Has(charge) } else { refused };
            }
        }
    }

    /// Looks for impressions on the day before. Returns those that may go on, and of which nobody knows whether they
    /// were accepted then.
    async fn check(&self, asks: &[Asks<'_>], slots: &mut [Slot<'_>], mut all: Vec<MayRepeat>) -> Vec<MayRepeat> {
        if all.is_empty() {
            return all;
        }
        let now = Instant::now();
        let of = |it: &MayRepeat| {
            let asks = asks.get(it.place)?;
            Some(Impression::of_day_before(&self.caps, asks, &it.cap, it.before, now))
        };
        let impressions: Vec<_> = all.iter().filter_map(of).collect();
        let mut found = self.caps.find(&impressions).await.into_iter();
        // Where keys are evicted, nobody can ever tell.
        let is_lost = self.caps.are_evicted();
        let mut there = Vec::new();
        all.retain(|_| {
            let answer = found.next().flatten();
            let is_left = answer.unwrap_or(!is_lost);
            there.extend(is_left.then_some(answer.is_some()));
            is_left
        });
        let looked = self.look_up(asks, all.iter().map(|it| it.place)).await;
        let now = Instant::now();
        let mut unknown = Vec::new();
        for ((it, is_there), looked) in all.into_iter().zip(there).zip(looked) {
            let Some(slot) = slots.get_mut(it.place) else { continue };
            let is_refused = matches!(slot, Slot::Refused(_));
            match looked {
                // This copy may have room, and then counts on this day.
                Looked::Stored(event) if event.is_void => {}
                Looked::Stored(event) => *slot = Slot::Stored(event),
                // It may be on its way, and has to come again. Later it is taken for one that Kafka never had.
                Looked::Nothing if is_refused || is_there && now < it.before.applied_by => {
                    *slot = Slot::Refused(Refused::Unavailable);
                }
                Looked::NotAsked | Looked::Failed if is_refused || is_there => {
                    *slot = Slot::Refused(Refused::Unavailable);
                }
                Looked::Nothing | Looked::NotAsked | Looked::Failed => unknown.push(it),
                Looked::Another => {}
            }
        }
        unknown
    }

    /// Looks for these events of a request in PostgreSQL. If there are too many, it begins anywhere: whoever sends all
    /// of them again must not get an answer for the same ones each time.
    async fn look_up(&self, asks: &[Asks<'_>], places: impl Iterator<Item = usize>) -> Vec<Looked> {
        let now = Instant::now();
        let mut all: Vec<_> = places.map(|place| asks.get(place)).collect();
        let begin = fastrand::usize(..=all.len());
        let (before, from) = all.split_at_mut(begin);
        for asks in from.iter_mut().chain(before) {
            *asks = asks.filter(|_| self.lookups.allows(now));
        }
        let asked: Vec<_> = all.iter().flatten().map(|asks| (asks.campaign, asks.id)).collect();
        if asked.is_empty() {
            return all.iter().map(|_| Looked::NotAsked).collect();
        }
        let stored = queries::stored_events(&self.store, &asked).await;
        let looked = all.into_iter().map(|asks| match (asks, &stored) {
            (None, _) => Looked::NotAsked,
            (Some(_), Err(_)) => Looked::Failed,
            (Some(asks), Ok(stored)) => match stored.get(&(asks.campaign, asks.id.as_str().to_owned())) {
                Some(event) if asks.is(event) => Looked::Stored(event.clone()),
                Some(_) => Looked::Another,
                None => Looked::Nothing,
            },
        });
        looked.collect()
    }
}
