//! What this instance has of one campaign.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::ads::queries::{self, Facts, Granted, Lease, Room, State};
use shared::ads::{AdEventType, CampaignId, Nanos};
use time::Date;

use super::demand::Demand;
use super::{Cap, DayBefore, Refusal, Returns, Taken, Ticket, Unit};

/// For how long a refusal is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);
/// For how long it is remembered that there is no such campaign: it may be made at any time. Questions are no more
/// frequent anyway.
const MISSING: Duration = Duration::from_millis(100);
/// The part of their time, in tenths, after which facts and leases are replaced if the campaign is in use.
const RENEWED_AFTER: u32 = 7;
/// For how long after its end the repeats of a day's impressions are looked for before others are added to the next
/// day's: clients that get no answer retry for minutes, and a device that was offline for an hour sends what it has.
const REPEATED: Duration = Duration::from_secs(3_600);
/// How long after its end PostgreSQL may not have a day's impressions: the topic has them 10 s after the last lease, and
/// the rest is for the worker.
const APPLIED: Duration = Duration::from_secs(60);
/// Asks for a lease of a campaign whose price is not known: it has one price at least.
const LEAST: Nanos = Nanos::new(1);

#[derive(Debug)]
pub(super) struct Account {
    campaign: CampaignId,
    facts: Option<Held>,
    /// The oldest first.
    leases: VecDeque<Lent>,
    /// A refusal for want of money, and until when it is remembered.
    no_room: Option<(Refusal, Instant)>,
    /// Until when it is remembered that there is no such campaign.
    missing_until: Option<Instant>,
    demand: Demand,
    /// An event waits for facts or for money.
    is_awaited: bool,
}

#[derive(Debug)]
struct Held {
    facts: Facts,
    until: Instant,
    renewed_at: Instant,
    day_ends: Instant,
    day_before: Option<DayBefore>,
    /// There is another revision.
    is_stale: bool,
}

#[derive(Debug)]
struct Lent {
    id: Arc<str>,
    day: Date,
    amount: Nanos,
    left: Nanos,
    until: Instant,
    renewed_at: Instant,
}

impl Account {
    pub(super) fn new(campaign: CampaignId, now: Instant) -> Self {
        Self {
            campaign,
            facts: None,
            leases: VecDeque::new(),
            no_room: None,
            missing_until: None,
            demand: Demand::new(now),
            is_awaited: false,
        }
    }

    pub(super) fn note(&mut self, event_type: AdEventType, now: Instant) {
        self.demand.note(event_type, now);
    }

    pub(super) fn take(&mut self, event_type: AdEventType, now: Instant) -> Taken {
        if self.missing_until.is_some_and(|until| now < until) {
            return Taken::Refused(Refusal::NotFound);
        }
        let Some(held) = self.facts.as_ref().filter(|held| held.holds(now)) else {
            self.is_awaited = true;
            return Taken::Wait;
        };
        let Held { facts, until, .. } = held;
        if facts.state != State::Running {
            return Taken::Refused(Refusal::NotActive(facts.state));
        }
        let cost = cost(facts, event_type);
        let needed = if cost == Nanos::ZERO && event_type == AdEventType::Impression { price(facts) } else { cost };
        let free = |held: &Held| Ticket {
            unit: None,
            day: facts.day,
            cost: Nanos::ZERO,
            cap: held.cap(event_type),
            until: *until,
        };
        if needed == Nanos::ZERO {
            return Taken::Ticket(free(held));
        }
        let usable = |lease: &&mut Lent| now < lease.until && lease.left >= needed && lease.day == facts.day;
        if let Some(lease) = self.leases.iter_mut().find(usable) {
            if cost == Nanos::ZERO {
                // There is room for the click or the conversion that it may lead to.
                return Taken::Ticket(free(held));
            }
            lease.left = lease.left.checked_sub(cost).unwrap_or_default();
            let unit = Unit { campaign: self.campaign, lease: Arc::clone(&lease.id), amount: cost };
            let (day, until) = (lease.day, lease.until);
            return Taken::Ticket(Ticket { unit: Some(unit), day, cost, cap: held.cap(event_type), until });
        }
        match self.no_room.filter(|(_, until)| now < *until) {
            // While money is lent that may come back, it may still be paid for.
            Some((Refusal::Exhausted { retry_after, .. }, _))
                if retry_after != Some(1) && facts.record_exhausted && event_type == AdEventType::Conversion =>
            {
                Taken::Ticket(free(held))
            }
            Some((refusal, _)) => Taken::Refused(refusal),
            None => {
                self.is_awaited = true;
                Taken::Wait
            }
        }
    }

    /// A unit comes back. False if its lease is not here any more.
    pub(super) fn give(&mut self, lease: &Arc<str>, amount: Nanos, now: Instant) -> bool {
        let held = self.leases.iter_mut().find(|lent| *lent.id == **lease && now < lent.until);
        let Some(held) = held else { return false };
        match held.left.checked_add(amount) {
            Some(left) => {
                held.left = left;
                true
            }
            None => false,
        }
    }

    /// What to ask of PostgreSQL: about how much money, 0 for the facts alone.
    pub(super) fn want(&mut self, now: Instant) -> Option<Nanos> {
        let foreseen = self.demand.of_two_seconds(now);
        let is_awaited = std::mem::take(&mut self.is_awaited);
        let is_used = foreseen.iter().any(|count| *count > 0);
        if !(is_used || is_awaited) || self.missing_until.is_some_and(|until| now < until) {
            return None;
        }
        let Some(held) = &self.facts else { return Some(LEAST) };
        let is_fresh = held.holds(now) && now < held.renewed_at;
        let amount = needed(&held.facts, foreseen);
        let is_refused = self.no_room.is_some_and(|(_, until)| now < until);
        // There are no leases of what does not run. Whether it runs again, new facts say.
        let may_have = held.facts.state == State::Running && !is_refused || !held.holds(now);
        let lacks = may_have && amount > Nanos::ZERO && !self.has_enough(&held.facts, now);
        match (is_fresh, lacks) {
            (_, true) => Some(amount),
            (false, false) => Some(Nanos::ZERO),
            (true, false) => None,
        }
    }

    /// Whether at least half of the last lease is left, and one price in one piece, for a while.
    fn has_enough(&self, facts: &Facts, now: Instant) -> bool {
        let is_of_today = |lease: &&Lent| lease.day == facts.day;
        let last = self.leases.back().filter(is_of_today);
        let Some(last) = last.filter(|last| now < last.renewed_at) else { return false };
        let usable = || self.leases.iter().filter(is_of_today).filter(|lease| now < lease.until);
        let left = usable().map(|lease| lease.left.get()).fold(0_i64, i64::saturating_add);
        left >= last.amount.get() / 2 && usable().any(|lease| lease.left >= price(facts))
    }

    pub(super) fn granted(&mut self, asked_at: Instant, now: Instant, granted: Option<Granted>, back: &mut Returns) {
        let Some(Granted { facts, room }) = granted else {
            self.facts = None;
            self.missing_until = Some(now + MISSING);
            return self.leave(back);
        };
        self.missing_until = None;
        let until = asked_at + facts.usable_for;
        let renewed_at = asked_at + facts.usable_for * RENEWED_AFTER / 10;
        match room {
            Room::Lease(Lease { id, amount }) => {
                self.no_room = None;
                let lent = Lent { id: id.into(), day: facts.day, amount, left: amount, until, renewed_at };
                self.leases.push_back(lent);
            }
            Room::Exhausted { scope, retry_after } => {
                self.no_room = Some((Refusal::Exhausted { scope, retry_after }, now + REMEMBERED));
            }
            Room::Paced { retry_after } => {
                self.no_room = Some((Refusal::Paced { retry_after }, now + REMEMBERED));
            }
            Room::NotAsked => {}
        }
        let starts = match facts.state {
            State::Scheduled { in_s } => asked_at + Duration::from_secs(in_s.into()),
            State::Running | State::Draft | State::Paused | State::Ended => until,
        };
        if facts.state != State::Running {
            self.leave(back);
        }
        let day_ends = asked_at + facts.day_ends_in;
        let day_before = facts.day_before.map(|queries::DayBefore { day, begins, ended_ago }| DayBefore {
            day,
            begins,
            repeated_until: asked_at + REPEATED.saturating_sub(ended_ago),
            applied_by: asked_at + APPLIED.saturating_sub(ended_ago),
        });
        self.facts = Some(Held { until: until.min(starts), renewed_at, day_ends, day_before, is_stale: false, facts });
    }

    /// The campaign's revision as PostgreSQL has it; `None` if it is not there.
    pub(super) fn revised(&mut self, revision: Option<i64>) {
        if let Some(held) = &mut self.facts {
            // An older one was read before these facts.
            held.is_stale |= revision.is_none_or(|revision| revision > held.facts.revision);
        }
    }

    /// Whether its facts are in use.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.facts.as_ref().is_some_and(|held| held.holds(now))
    }

    /// Lets go of leases that have ended.
    pub(super) fn expire(&mut self, now: Instant, back: &mut Returns) {
        self.leases.retain(|lease| {
            let lasts = now < lease.until;
            if !lasts {
                super::put_back(back, &lease.id, lease.left);
            }
            lasts
        });
    }

    /// Lets go of all leases.
    pub(super) fn leave(&mut self, back: &mut Returns) {
        for lease in self.leases.drain(..) {
            super::put_back(back, &lease.id, lease.left);
        }
    }

    /// Whether nothing would be lost without it.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        let is_missing = self.missing_until.is_some_and(|until| now < until);
        let is_used = self.is_awaited || self.demand.of_two_seconds(now).iter().any(|count| *count > 0);
        self.leases.is_empty() && !is_missing && !is_used && !self.is_open(now)
    }
}

impl Held {
    fn holds(&self, now: Instant) -> bool {
        now < self.until && !self.is_stale
    }

    /// The cap on an event of this type.
    fn cap(&self, event_type: AdEventType) -> Option<Cap> {
        let Facts { cap, allow_unsure, day_begins, .. } = self.facts;
        let most = cap.filter(|_| event_type == AdEventType::Impression)?;
        Some(Cap { most, day_begins, day_ends: self.day_ends, day_before: self.day_before, allow_unsure })
    }
}

fn cost(facts: &Facts, event_type: AdEventType) -> Nanos {
    let [impression, click, conversion] = facts.costs;
    match event_type {
        AdEventType::Impression => impression,
        AdEventType::Click => click,
        AdEventType::Conversion => conversion,
    }
}

/// The price of what is paid for.
fn price(facts: &Facts) -> Nanos {
    facts.costs.into_iter().max().unwrap_or_default()
}

/// What these events cost. Impressions that cost nothing need room for one price.
fn needed(facts: &Facts, [impressions, clicks, conversions]: [u64; 3]) -> Nanos {
    let costs = [impressions, clicks, conversions].into_iter().zip(facts.costs);
    let all = costs.map(|(count, cost)| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(cost.get()));
    let all = all.fold(0_i64, i64::saturating_add);
    let least = if impressions > 0 { price(facts).get() } else { 0 };
    Nanos::new(all.max(least))
}
