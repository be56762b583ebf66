//! Decides what becomes of ad events, and keeps the books of a batch. Pure.
//!
//! An event is billed from its lease. If that is closed, it is billed if its budgets have room, and otherwise it is
//! `void`: an outcome, never an error, because an error would make money a dead letter.

use std::collections::{BTreeMap, HashMap};

use time::{Date, Duration, OffsetDateTime};

use crate::ads::{AdDelivery, AdEventType, Rules};
use crate::cache::Fence;
use crate::runtime::named::named;

named!(
    /// The outcome of an ad event, as a metric's label and in the log.
    pub Outcome {
        /// It counts, and is billed if its type costs something.
        Counted = "counted",
        /// It does not count: there was no room, or the user's cap was reached.
        Void = "void",
        /// A rule of its campaign refuses it.
        Invalid = "invalid",
        /// The same event was stored before.
        Repeated = "repeated",
        /// An event with this id, but of another user or type, was stored before.
        Conflicting = "conflicting",
        /// Its user was erased after the event: it has no effect.
        Forgotten = "forgotten",
    }
);

impl Outcome {
    /// Whether the event took effect, now or, for a repeat, the first time.
    pub const fn counts(self) -> bool {
        match self {
            Self::Counted | Self::Repeated => true,
            Self::Void | Self::Invalid | Self::Conflicting | Self::Forgotten => false,
        }
    }
}

/// Why an event is void: its budgets have no room.
pub(super) const NO_ROOM: &str = "no_room";
/// Why an event is void: the user has seen the campaign as often as the cap allows.
pub(super) const CAPPED: &str = "capped";

/// An event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed {
    /// The event's outcome.
    pub outcome: Outcome,
    /// Why it is void or invalid, if this event is the one that was stored.
    pub reason: Option<&'static str>,
    /// What was billed, in nanos.
    pub billed: i64,
    /// The version of its campaign's report after it.
    pub version: Option<i64>,
    /// The index of its report's fence among the batch's fences.
    pub fence: Option<usize>,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The outcome of each event, in the order of the batch.
    pub events: Vec<Processed>,
    /// The reports of the batch's campaigns, with their current versions.
    pub fences: Vec<Fence>,
}

/// What the books know before a batch, and after each of its events.
#[derive(Debug, Default)]
pub(super) struct Ledger<'a> {
    pub campaigns: BTreeMap<i64, Campaign>,
    pub days: BTreeMap<(i64, Date), Day>,
    pub leases: HashMap<&'a str, Lease>,
    pub users: BTreeMap<(i64, &'a str), User>,
}

#[derive(Debug, Default)]
pub(super) struct Campaign {
    pub rules: Rules,
    pub total: i64,
    pub spent: i64,
    pub reserved: i64,
    pub version: i64,
    /// What this batch adds.
    pub added: Counts,
    pub users: i64,
    pub invalid: BTreeMap<&'static str, i64>,
    pub hours: BTreeMap<(Date, i32), Counts>,
}

/// Numbers of events, and sums.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Of impressions, clicks and conversions that count.
    pub events: [i64; 3],
    pub users: i64,
    pub spend: i64,
    pub value: i128,
    pub void: i64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    pub budget: Option<i64>,
    pub cap: Option<i32>,
    pub spent: i64,
    pub reserved: i64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub campaign: i64,
    pub day: Date,
    pub amount: i64,
    pub settled: i64,
}

/// What a user did in a campaign.
#[derive(Debug, Default)]
pub(super) struct User {
    pub days: BTreeMap<Date, UserDay>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserDay {
    /// Whether it has a row.
    pub is_stored: bool,
    pub is_changed: bool,
    /// Impressions, clicks and conversions that count.
    pub events: [i32; 3],
    pub last_impression_at: Option<OffsetDateTime>,
    pub last_click_at: Option<OffsetDateTime>,
    pub minute: Option<OffsetDateTime>,
    pub minute_events: i32,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Counted { from_lease: bool },
    Void(&'static str),
    Invalid(&'static str),
}

impl<'a> Ledger<'a> {
    /// Decides about an event. Its campaign and day must be known.
    pub(super) fn judge(&self, delivery: &AdDelivery) -> Verdict {
        let event = &delivery.event;
        let id = event.campaign.get();
        let Some(campaign) = self.campaigns.get(&id) else { return Verdict::Void(NO_ROOM) };
        let none = User::default();
        let user = self.users.get(&(id, event.user.as_str())).unwrap_or(&none);
        if let Some(reason) = user.refusal(&campaign.rules, delivery) {
            return Verdict::Invalid(reason);
        }
        let day = self.days.get(&(id, event.day));
        if event.event_type == AdEventType::Impression
            && let Some(cap) = day.and_then(|day| day.cap)
            && user.days.get(&event.day).is_some_and(|seen| seen.count(AdEventType::Impression) >= cap)
        {
            return Verdict::Void(CAPPED);
        }
        let cost = event.cost.get();
        if cost == 0 {
            return Verdict::Counted { from_lease: false };
        }
        if self.open_lease(delivery).is_some() {
            return Verdict::Counted { from_lease: true };
        }
        let has_room =
            |limit: i64, spent: i64, reserved: i64| limit.saturating_sub(spent).saturating_sub(reserved) >= cost;
        let fits = has_room(campaign.total, campaign.spent, campaign.reserved)
            && day.is_some_and(|day| day.budget.is_none_or(|budget| has_room(budget, day.spent, day.reserved)));
        if fits { Verdict::Counted { from_lease: false } } else { Verdict::Void(NO_ROOM) }
    }

    /// The lease of an event, if it is open and has the event's money.
    fn open_lease(&self, delivery: &AdDelivery) -> Option<&Lease> {
        let event = &delivery.event;
        let lease = self.leases.get(event.lease.as_deref()?)?;
        let is_its = lease.campaign == event.campaign.get() && lease.day == event.day;
        let fits = event.cost.get() <= lease.amount.saturating_sub(lease.settled);
        (is_its && fits).then_some(lease)
    }

    /// Books an event. `hour` is of its acceptance, in its day.
    pub(super) fn book(&mut self, delivery: &'a AdDelivery, verdict: Verdict, hour: i32) {
        let event = &delivery.event;
        let (id, cost, kind) = (event.campaign.get(), event.cost.get(), event.event_type);
        let takes_lease = cost > 0 && self.open_lease(delivery).is_some();
        let (Some(campaign), Some(day)) = (self.campaigns.get_mut(&id), self.days.get_mut(&(id, event.day))) else {
            return;
        };
        if takes_lease && let Some(lease) = event.lease.as_deref().and_then(|lease| self.leases.get_mut(lease)) {
            lease.settled += cost;
            campaign.reserved -= cost;
            day.reserved -= cost;
        }
        campaign.version += 1;
        let user = self.users.entry((id, event.user.as_str())).or_default();
        let is_first = user.days.values().all(|day| day.events == [0; 3]);
        let seen = user.days.entry(event.day).or_default();
        seen.is_changed = true;
        if campaign.rules.user_events_per_minute.is_some() {
            (seen.minute, seen.minute_events) = seen.with_event_at(delivery.envelope.accepted_at);
        }
        let slot = campaign.hours.entry((event.day, hour)).or_default();
        match verdict {
            Verdict::Counted { .. } => {
                campaign.spent += cost;
                day.spent += cost;
                let is_first_of_day = seen.events == [0; 3];
                seen.note(kind, delivery.envelope.accepted_at);
                campaign.users += i64::from(is_first);
                let value = i128::from(event.data.value.unwrap_or_default().get());
                for counts in [&mut campaign.added, slot] {
                    if let Some(count) = counts.events.get_mut(kind as usize) {
                        *count += 1;
                    }
                    counts.users += i64::from(is_first_of_day);
                    counts.spend += cost;
                    counts.value += value;
                }
            }
            Verdict::Void(_) => {
                campaign.added.void += 1;
                slot.void += 1;
            }
            Verdict::Invalid(reason) => *campaign.invalid.entry(reason).or_default() += 1,
        }
    }

    /// Takes back that an event was void, because another copy of it counts.
    pub(super) fn unvoid(&mut self, campaign: i64, day: Date, hour: i32) {
        if let Some(campaign) = self.campaigns.get_mut(&campaign) {
            campaign.added.void -= 1;
            campaign.hours.entry((day, hour)).or_default().void -= 1;
        }
    }
}

impl User {
    /// The rule that refuses an event.
    fn refusal(&self, rules: &Rules, delivery: &AdDelivery) -> Option<&'static str> {
        let (event, at) = (&delivery.event, delivery.envelope.accepted_at);
        if !rules.blocked_user_agents.is_empty() {
            let agent = event.data.user_agent.as_deref().unwrap_or_default().to_lowercase();
            if rules.blocked_user_agents.iter().any(|blocked| agent.contains(&blocked.to_lowercase())) {
                return Some("user_agent");
            }
        }
        if let Some(most) = rules.user_events_per_minute {
            let (_, events) = self.days.get(&event.day).copied().unwrap_or_default().with_event_at(at);
            if i64::from(events) > i64::from(most) {
                return Some("user_rate");
            }
        }
        let last = |of: fn(&UserDay) -> Option<OffsetDateTime>| self.days.values().filter_map(of).max();
        let is_within = |last: Option<OffsetDateTime>, seconds: u32| {
            last.is_some_and(|last| at - last < Duration::seconds(seconds.into()))
        };
        match event.event_type {
            AdEventType::Impression => None,
            AdEventType::Click => {
                if rules.click_requires_impression && last(|day| day.last_impression_at).is_none() {
                    return Some("no_impression");
                }
                let window = rules.duplicate_click_window?;
                is_within(last(|day| day.last_click_at), window).then_some("duplicate_click")
            }
            AdEventType::Conversion => {
                let window = rules.conversion_window?;
                let seen = last(|day| day.last_impression_at.max(day.last_click_at));
                (!is_within(seen, window)).then_some("late_conversion")
            }
        }
    }
}

impl UserDay {
    pub(super) fn count(&self, kind: AdEventType) -> i32 {
        self.events.get(kind as usize).copied().unwrap_or_default()
    }

    /// The minute of the latest event, and its events, with one more at this time.
    fn with_event_at(&self, at: OffsetDateTime) -> (Option<OffsetDateTime>, i32) {
        let minute = at - Duration::seconds(at.second().into()) - Duration::nanoseconds(at.nanosecond().into());
        match self.minute {
            // An event that comes late counts for the latest minute.
            Some(latest) if minute <= latest => (Some(latest), self.minute_events.saturating_add(1)),
            _ => (Some(minute), 1),
        }
    }

    fn note(&mut self, kind: AdEventType, at: OffsetDateTime) {
        if let Some(count) = self.events.get_mut(kind as usize) {
            *count += 1;
        }
        let last = match kind {
            AdEventType::Impression => &mut self.last_impression_at,
            AdEventType::Click => &mut self.last_click_at,
            AdEventType::Conversion => return,
        };
        *last = (*last).max(Some(at));
    }
}
