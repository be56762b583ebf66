//! Parts c, e and f: caps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Found;
use super::Campaign;
use super::times::clock;
use crate::history::ads::{AdKind, Ads, Outcome, Try};
use crate::history::{History, Span};

/// The longest time until an API notices that the caps' Redis evicts keys.
const EVICTION_SEEN: Duration = Duration::from_secs(2);
/// By how much `Retry-After` may miss the end of the day, in seconds.
const RETRY_AFTER_MISSES: i64 = 2;

impl Found {
    pub(super) fn caps(&mut self, campaign: &Campaign<'_>, history: &History) {
        self.counted(campaign);
        self.user_days(campaign);
        self.accepted(campaign, &history.ads);
        self.refused(campaign, &history.ads);
    }

    /// Part c.
    fn counted(&mut self, campaign: &Campaign<'_>) {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for event in campaign.events.iter().filter(|event| event.outcome == Outcome::Counted) {
            if event.kind == AdKind::Impression {
                *counts.entry((&event.user, &event.day)).or_default() += 1;
            }
        }
        for ((user, day), count) in counts {
            if let Some(cap) = campaign.greatest_cap(day).filter(|cap| count > *cap) {
                let what = format!("{count} impressions of {user} count in {day}, and the cap is {cap}");
                self.say_of('c', campaign.id, what);
            }
        }
    }

    /// The counts by user and day, from which the cap is decided, are those of the events.
    fn user_days(&mut self, campaign: &Campaign<'_>) {
        if campaign.row.is_some_and(|row| row.booked_out > 0) {
            return;
        }
        let mut counts: BTreeMap<(&str, &str), [i64; 3]> = BTreeMap::new();
        for event in campaign.events.iter().filter(|event| event.outcome == Outcome::Counted) {
            let counts = counts.entry((&event.user, &event.day)).or_default();
            let place = AdKind::ALL.iter().position(|kind| *kind == event.kind);
            if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        }
        for day in &campaign.user_days {
            let stored = [day.impressions, day.clicks, day.conversions];
            let expected = counts.remove(&(day.user.as_str(), day.day.as_str())).unwrap_or_default();
            if stored != expected {
                let what = format!("{} has {stored:?} in {}, and its events are {expected:?}", day.user, day.day);
                self.say_of('c', campaign.id, what);
            }
        }
        for ((user, day), expected) in counts {
            let what = format!("{user} has nothing in {day}, and its events are {expected:?}");
            self.say_of('c', campaign.id, what);
        }
    }

    /// Part e.
    fn accepted(&mut self, campaign: &Campaign<'_>, ads: &Ads) {
        if campaign.ever(|terms| terms.allows) {
            return;
        }
        let mut accepted: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        let impressions = campaign.tries.iter().filter(|one| one.is_accepted() && one.kind == AdKind::Impression);
        for one in impressions.filter(|one| !while_evicting(ads, one.span())) {
            if let Some(day) = campaign.day_of(ads, one) {
                accepted.entry((&one.user, day)).or_default().insert(&one.id);
            }
        }
        for ((user, day), ids) in accepted {
            if let Some(cap) = campaign.greatest_cap(day).filter(|cap| ids.len() > *cap) {
                let what = format!(
                    "{} impressions of {user} were answered 202 in {day}, and the cap is {cap}: {ids:?}",
                    ids.len()
                );
                self.say_of('e', campaign.id, what);
            }
        }
    }

    /// Part f.
    fn refused(&mut self, campaign: &Campaign<'_>, ads: &Ads) {
        let mut of_user: BTreeMap<&str, Vec<&Try>> = BTreeMap::new();
        for one in campaign.tries.iter().filter(|one| one.kind == AdKind::Impression) {
            of_user.entry(&one.user).or_default().push(one);
        }
        for one in campaign.tries.iter().filter(|one| one.is_capped()) {
            let (id, user, at) = (&one.id, &one.user, one.from);
            if one.kind != AdKind::Impression {
                self.say_of('f', campaign.id, format!("{:?} {id} was answered 429 at {at:?}: it has no cap", one.kind));
                continue;
            }
            let all = of_user.get(user.as_str()).map(Vec::as_slice).unwrap_or_default();
            let before = all.iter().find(|other| other.id == *id && other.is_accepted() && other.to < at);
            let is_certain = |before: &&&Try| [*before, one].iter().all(|one| !while_evicting(ads, one.span()));
            if let Some(before) = before.filter(is_certain) {
                let what = format!("{id} of {user} was answered 202 at {:?}, and 429 at {at:?}", before.to);
                self.say_of('f', campaign.id, what);
            }
            let Some(day) = campaign.day_of(ads, one) else { continue };
            let in_force = campaign.terms_on(day, clock(ads, one.to));
            let Some(cap) = in_force.iter().filter_map(|terms| terms.cap).min() else {
                self.say_of(
                    'f',
                    campaign.id,
                    format!("{id} of {user} was answered 429 at {at:?}, and there is no cap"),
                );
                continue;
            };
            // Others that may be in the set of this day by then.
            let others: BTreeSet<&str> = all
                .iter()
                .filter(|other| other.id != *id && other.from < one.to && may_be_in_the_set(other))
                .filter(|other| campaign.day_of(ads, other).is_none_or(|of_other| of_other == day))
                .map(|other| other.id.as_str())
                .collect();
            if others.len() < cap {
                let what = format!("{id} of {user} was answered 429 at {at:?} behind {others:?}, and the cap is {cap}");
                self.say_of('f', campaign.id, what);
            }
            self.retry_after(campaign, ads, one, day);
        }
    }

    /// `Retry-After` leads to the end of the day.
    fn retry_after(&mut self, campaign: &Campaign<'_>, ads: &Ads, one: &Try, day: &str) {
        if one.retry_after.is_none() && !one.batched {
            let what = format!("{} was answered 429 at {:?} without Retry-After", one.id, one.from);
            self.say_of('f', campaign.id, what);
        }
        let Some(((_, ends), after)) = campaign.bounds_of(day).zip(one.retry_after) else { return };
        let left = |at| (ends - clock(ads, at)) / 1_000_000;
        let expected = left(one.to) - RETRY_AFTER_MISSES..=left(one.from) + RETRY_AFTER_MISSES;
        if !i64::try_from(after).is_ok_and(|after| expected.contains(&after)) {
            let (id, from) = (&one.id, one.from);
            let what = format!("{id} was answered 429 at {from:?} for {after} s, and the day ends in {expected:?} s");
            self.say_of('f', campaign.id, what);
        }
    }
}

/// Whether an answer leaves the event's id in the set, or may do so.
fn may_be_in_the_set(one: &Try) -> bool {
    one.is_accepted() || one.status == 0 || one.status >= 500
}

/// Whether keys may have been evicted, unnoticed, during this time.
pub(super) fn while_evicting(ads: &Ads, span: Span) -> bool {
    ads.evicted.iter().any(|evicted| Span { to: evicted.to + EVICTION_SEEN, ..*evicted }.meets(&span))
}
