//! Decides which ad events may be sent: money from the [book], and the caps of users.
//!
//! An event that has its lease in memory, and no cap, waits for nothing. What an event was charged comes back if it is
//! certainly not sent: its unit to the book, its id out of the set of its user.

mod book;
mod caps;
mod copies;
mod lookups;
mod outage;
mod refill;
mod releases;
mod repeats;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter, describe_histogram, histogram};
use shared::ads::queries::StoredEvent;
use shared::ads::{AdEventType, CampaignId, Nanos, UserId};
use shared::cache::IdSets;
use shared::kafka::ids::EventId;
use shared::store::Store;
use time::Date;

pub(super) use self::book::Refusal;
use self::book::{Book, Taken, Ticket, Unit};
use self::caps::{Capped, Caps, Impression};
use self::copies::{Copies, Held};
use self::lookups::Lookups;
use self::refill::Refill;

/// How long the events of a request wait for leases, all together.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most lookups in a second for repeats of events that PostgreSQL has.
const LOOKUPS: u32 = 100;
/// The most lookups in a second for impressions that were noted.
const LOOKUPS_OF_NOTED: u32 = 2_000;

pub(super) struct Admission {
    book: Arc<Book>,
    refill: Arc<Refill>,
    caps: Caps,
    /// Before refusals by budgets, and on the day before.
    lookups: Lookups,
    /// Before caps of campaigns that allow unsure impressions refuse.
    noted: Lookups,
    store: Store,
}

/// An event that asks to be admitted.
pub(super) struct Asks<'a> {
    pub(super) campaign: CampaignId,
    pub(super) user: &'a UserId,
    pub(super) event_type: AdEventType,
    pub(super) id: &'a EventId,
    /// The client gave the id, so the event may be a repeat.
    pub(super) is_named: bool,
}

/// What becomes of it.
pub(super) enum Verdict {
    Admitted(Charged),
    /// A repeat of an event that was applied.
    Stored(StoredEvent),
    Refused(Refused),
}

/// What an admitted event was charged. Dropped, it stays charged.
#[must_use]
pub(super) struct Charged {
    unit: Option<Unit>,
    /// Its id in the set of its user, if it was not there before.
    entry: Option<Held>,
    pub(super) day: Date,
    pub(super) cost: Nanos,
}

/// Why an event is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Refusal(Refusal),
    /// The same, but nobody has looked whether it is a repeat.
    Unchecked(Refusal),
    /// The user had as many impressions as the cap allows; the seconds until the day ends.
    Capped {
        most: u32,
        retry_after: u32,
    },
    /// Nobody can tell now.
    Unavailable,
}

/// What an event has been charged so far. Dropped, it is charged nothing.
struct Charge<'a> {
    admission: &'a Admission,
    ticket: Ticket,
    entry: Option<Held>,
}

enum Slot<'a> {
    Has(Charge<'a>),
    Waits,
    Refused(Refused),
    Stored(StoredEvent),
}

impl Admission {
    pub(super) fn new(store: &Store, sets: IdSets) -> Self {
        Self {
            book: Arc::default(),
            refill: Arc::new(Refill::new(store.clone())),
            caps: Caps::new(sets, store.clone()),
            lookups: Lookups::new(LOOKUPS, Instant::now()),
            noted: Lookups::new(LOOKUPS_OF_NOTED, Instant::now()),
            store: store.clone(),
        }
    }

    /// Decides about the events of a request, in order. If the future is dropped, none of them is charged.
    pub(super) async fn admit(&self, asks: &[Asks<'_>]) -> Vec<Verdict> {
        let now = Instant::now();
        let mut slots: Vec<_> = asks.iter().map(|asks| self.take(asks, true, now)).collect();
        if slots.iter().any(|slot| matches!(slot, Slot::Waits)) {
            self.wait(asks, &mut slots).await;
        }
        if slots.iter().any(|slot| matches!(slot, Slot::Has(Charge { ticket: Ticket { cap: Some(_), .. }, .. }))) {
            self.cap(asks, &mut slots).await;
        }
        self.check_refused(asks, &mut slots).await;
        let now = Instant::now();
        let verdicts = slots.into_iter().map(|slot| slot.verdict(now));
        self.in_order(asks, verdicts.collect())
    }

    /// An event that cannot be admitted now comes again: later ones of its campaign and user must not overtake it.
    fn in_order(&self, asks: &[Asks<'_>], mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
        let comes_again = |verdict: &Verdict| matches!(verdict, Verdict::Refused(Refused::Unavailable));
        if !verdicts.iter().any(comes_again) {
            return verdicts;
        }
        let mut held_back = HashSet::new();
        for (verdict, asks) in verdicts.iter_mut().zip(asks) {
            let key = (asks.campaign, asks.user);
            if comes_again(verdict) {
                held_back.insert(key);
            } else if held_back.contains(&key)
                && matches!(verdict, Verdict::Admitted(_))
                && let Verdict::Admitted(charged) = std::mem::replace(verdict, Verdict::Refused(Refused::Unavailable))
            {
                self.take_back(charged);
            }
        }
        verdicts
    }

    /// Takes back what an event was charged, which was certainly not sent.
    pub(super) fn take_back(&self, Charged { unit, entry, .. }: Charged) {
        if let Some(unit) = unit {
            self.book.give(unit, Instant::now());
        }
        if let Some(entry) = entry.and_then(Held::take_back) {
            self.caps.release(entry);
        }
    }

    fn take(&self, asks: &Asks<'_>, is_first: bool, now: Instant) -> Slot<'_> {
        match self.book.take(asks.campaign, asks.event_type, is_first, now) {
            Taken::Ticket(ticket) => Slot::Has(Charge { admission: self, ticket, entry: None }),
            Taken::Refused(refusal) => Slot::Refused(Refused::Refusal(refusal)),
            Taken::Wait => Slot::Waits,
        }
    }

    /// Waits until PostgreSQL has answered for all campaigns.
    async fn wait<'a>(&'a self, asks: &[Asks<'_>], slots: &mut [Slot<'a>]) {
        let (began, mut rounds) = (Instant::now(), self.refill.rounds());
        loop {
            let now = Instant::now();
            let mut left = 0;
            for (slot, asks) in slots.iter_mut().zip(asks).filter(|(slot, _)| matches!(slot, Slot::Waits)) {
                *slot = self.take(asks, false, now);
                match slot {
                    Slot::Waits => left += 1,
                    _ => histogram!("ads_lease_wait_seconds").record(now - began),
                }
            }
            if left == 0 {
                return;
            }
            self.refill.wake();
            if !rounds.next(began + PATIENCE).await {
                break;
            }
        }
        for slot in slots.iter_mut().filter(|slot| matches!(slot, Slot::Waits)) {
            histogram!("ads_lease_wait_seconds").record(began.elapsed());
            *slot = Slot::Refused(Refused::Unavailable);
        }
    }

    /// Adds the ids of capped impressions to the sets of their users. Copies of one are asked for once: a second
    /// question would find the id, and pin what the request may have to release.
    async fn cap<'a>(&'a self, asks: &[Asks<'_>], slots: &mut [Slot<'a>]) {
        let unchecked = self.check_day_before(asks, slots).await;
        let now = Instant::now();
        let (mut places, mut impressions) = (Vec::new(), Vec::new());
        let mut all = HashMap::new();
        for (place, (slot, asks)) in slots.iter_mut().zip(asks).enumerate() {
            if let Slot::Has(charge) = slot
                && let Some(cap) = charge.ticket.cap
            {
                let day = charge.ticket.day;
                let (at, copies) = all.entry((asks.campaign, asks.user, asks.id, day)).or_insert_with(|| {
                    let impression = Impression::new(&self.caps, asks, day, cap, now);
                    let copies = Copies::of(&impression.new.entry);
                    impressions.push(impression);
                    (impressions.len() - 1, copies)
                });
                // From here on it may be in the set.
                charge.entry = Some(copies.hold());
                places.push((place, *at));
            }
        }
        let answers = self.caps.add(&impressions).await;
        let now = Instant::now();
        let (mut unsure, mut refused) = (Vec::new(), Vec::new());
        for (place, at) in places {
            let (Some(slot), Some(answer)) = (slots.get_mut(place), answers.get(at).copied()) else { continue };
            let Slot::Has(charge) = slot else { continue };
            let is_allowed = charge.ticket.cap.is_some_and(|cap| cap.allow_unsure);
            let may_repeat = is_allowed && asks.get(place).is_some_and(|asks| asks.is_named);
            match answer {
                Capped::New => {}
                Capped::There => charge.entry = None,
                Capped::Unsure if may_repeat => {
                    let taken = std::mem::replace(slot, Slot::Refused(Refused::Unavailable));
                    if let Slot::Has(charge) = taken {
                        unsure.push((place, charge));
                    }
                }
                // Whether it is in the set, nobody knows. If it is, it stays: it was accepted.
                Capped::Unsure if is_allowed || self.caps.are_evicted() => charge.entry = None,
                Capped::Unsure => *slot = Slot::Refused(Refused::Unavailable),
                Capped::Full => {
                    let most = charge.ticket.cap.map_or(0, |cap| cap.most);
                    let retry_after = charge.ticket.cap.map_or(1, |cap| whole_seconds(cap.day_ends, now));
                    charge.entry = None;
                    let capped = std::mem::replace(slot, Slot::Refused(Refused::Capped { most, retry_after }));
                    if may_repeat && let Slot::Has(charge) = capped {
                        refused.push((place, charge));
                    }
                }
            }
        }
        self.note_unsure(asks, slots, unsure).await;
        self.check_capped(asks, slots, unchecked).await;
        self.check_noted(asks, slots, refused).await;
    }

    /// Keeps leases and caps up to date, forever.
    pub(super) async fn run(&self) {
        tokio::join!(
            self.refill.run(&self.book),
            self.refill.watch_revisions(&self.book),
            self.caps.watch(),
            self.caps.send_releases(),
        );
    }

    /// At the end, when no event is on its way any more: returns the leases, and releases ids.
    pub(super) async fn end(&self) {
        tokio::join!(self.refill.end(&self.book), self.caps.end());
    }
}

impl Charged {
    /// The lease that pays for it.
    pub(super) fn lease(&self) -> Option<&str> {
        self.unit.as_ref().map(Unit::lease)
    }

    /// Its money alone.
    pub(super) fn without_entry(self) -> Self {
        Self { entry: None, ..self }
    }
}

impl<'a> Asks<'a> {
    /// By what PostgreSQL knows it.
    fn key(&self) -> (CampaignId, &'a EventId) {
        (self.campaign, self.id)
    }

    /// Whether it is a repeat of this event.
    fn is(&self, event: &StoredEvent) -> bool {
        event.user == self.user.as_str() && event.event_type == self.event_type
    }
}

impl Slot<'_> {
    fn verdict(self, now: Instant) -> Verdict {
        match self {
            // Its lease, or its day, has ended meanwhile.
            Self::Has(charge) if now >= charge.ticket.until => Verdict::Refused(Refused::Unavailable),
            Self::Has(charge) => Verdict::Admitted(charge.keep()),
            Self::Refused(refused) => Verdict::Refused(refused),
            Self::Stored(event) => Verdict::Stored(event),
            Self::Waits => Verdict::Refused(Refused::Unavailable),
        }
    }
}

impl Charge<'_> {
    fn keep(mut self) -> Charged {
        let (unit, entry) = (self.ticket.unit.take(), self.entry.take());
        Charged { unit, entry, day: self.ticket.day, cost: self.ticket.cost }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        let (unit, entry) = (self.ticket.unit.take(), self.entry.take());
        let charged = Charged { unit, entry, day: self.ticket.day, cost: self.ticket.cost };
        self.admission.take_back(charged);
    }
}

/// The seconds until then, rounded up.
fn whole_seconds(until: Instant, now: Instant) -> u32 {
    let left = until.saturating_duration_since(now).as_secs_f64().ceil();
    // Limits values that are out of range.
    (left as u32).max(1)
}

pub(super) fn describe() {
    describe_counter!("ads_grants_total", "Transactions that ask for leases of ad budgets, by outcome.");
    describe_histogram!("ads_lease_wait_seconds", "How long an ad event waited for a lease.");
    describe_counter!(
        "ads_caps_unsure_total",
        "Capped events taken or refused because the caps' Redis could not prove them."
    );
    describe_counter!("ads_cap_incarnations_total", "New incarnations of the caps' Redis that this instance met.");
    describe_counter!("ads_cap_releases_dropped_total", "Ids of events that were not sent, and were not released.");
    for outcome in refill::OUTCOMES {
        counter!("ads_grants_total", "outcome" => outcome).increment(0);
    }
    for name in ["ads_caps_unsure_total", "ads_cap_incarnations_total", "ads_cap_releases_dropped_total"] {
        counter!(name).increment(0);
    }
}
