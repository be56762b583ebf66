//! Parts a and b: money.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Found;
use super::Campaign;
use super::times::clock;
use crate::history::History;
use crate::history::ads::{AdKind, Books, CampaignRow, EventRow, Outcome};

/// How far a clock may be behind when it decides which day it is, in microseconds.
const CLOCKS_DIFFER: i64 = 1_000_000;

impl Found {
    pub(super) fn money(&mut self, campaign: &Campaign<'_>, history: &History) {
        if let Some(row) = campaign.row {
            self.sums(campaign, row);
            if row.booked_out == 0 {
                self.counters(campaign, row);
                self.counts(campaign, row);
            }
            self.leases(campaign, row);
        }
        self.costs(campaign);
        self.days(campaign);
        self.changes(campaign);
        self.patches(campaign, history);
        self.shown(campaign);
        for books in &campaign.books {
            self.books(books);
        }
        for seen in &campaign.seen {
            let (spent, reserved, total) = (seen.spent, seen.reserved, seen.total);
            if spent + reserved > total {
                let what = format!("at {:?}: spent {spent} and reserved {reserved}, of {total}", seen.at);
                self.say_of('b', campaign.id, what);
            }
        }
    }

    /// What was spent is what the events cost, in all places alike.
    fn sums(&mut self, campaign: &Campaign<'_>, row: &CampaignRow) {
        let CampaignRow { spent, booked_out, .. } = *row;
        let total: i64 = campaign.events.iter().map(|event| event.cost).sum();
        if total + booked_out != spent {
            let what = format!("the events cost {total}, {booked_out} is booked out, and spent is {spent}");
            self.say_of('a', campaign.id, what);
        }
        let days: i64 = campaign.days.iter().map(|day| day.spent).sum();
        let stats: i64 = campaign.stats.iter().map(|stat| stat.spend).sum();
        for (of, sum) in [("days", days), ("statistics", stats)] {
            if sum != spent {
                self.say_of('a', campaign.id, format!("the {of} have {sum}, and spent is {spent}"));
            }
        }
        if spent > row.terms.total {
            self.say_of('a', campaign.id, format!("spent is {spent}, of {}", row.terms.total));
        }
    }

    /// What is reserved is what the leases still hold.
    fn leases(&mut self, campaign: &Campaign<'_>, row: &CampaignRow) {
        let held: i64 = campaign.leases.iter().map(|lease| lease.amount - lease.settled).sum();
        if held != row.reserved {
            let what = format!("at the end {} is reserved, and the leases hold {held}", row.reserved);
            self.say_of('b', campaign.id, what);
        }
        for day in &campaign.days {
            let of_day = campaign.leases.iter().filter(|lease| lease.day == day.day);
            let held: i64 = of_day.map(|lease| lease.amount - lease.settled).sum();
            if held != day.reserved {
                let what =
                    format!("at the end {} is reserved in {}, and the leases hold {held}", day.reserved, day.day);
                self.say_of('b', campaign.id, what);
            }
        }
    }

    /// The campaign's and the statistics' counts are those of the events.
    fn counters(&mut self, campaign: &Campaign<'_>, row: &CampaignRow) {
        let counted = |kind| {
            let counted = campaign.events.iter().filter(|event| event.outcome == Outcome::Counted);
            counted.filter(move |event| event.kind == kind)
        };
        let count = |kind| i64::try_from(counted(kind).count()).unwrap_or(i64::MAX);
        let void = campaign.events.iter().filter(|event| event.outcome == Outcome::Void).count();
        let void = i64::try_from(void).unwrap_or(i64::MAX);
        let value: i64 = counted(AdKind::Conversion).filter_map(|event| event.value).sum();
        let of_stats = |of: fn(&&crate::history::ads::StatRow) -> i64| campaign.stats.iter().map(of).sum::<i64>();
        for (what, expected, of_row, of_stats) in [
            ("impressions", count(AdKind::Impression), row.impressions, of_stats(|stat| stat.impressions)),
            ("clicks", count(AdKind::Click), row.clicks, of_stats(|stat| stat.clicks)),
            ("conversions", count(AdKind::Conversion), row.conversions, of_stats(|stat| stat.conversions)),
            ("void events", void, row.void, of_stats(|stat| stat.void)),
            ("of value", value, row.value, of_stats(|stat| stat.value)),
        ] {
            if expected != of_row || expected != of_stats {
                let what = format!("{expected} {what}, and the campaign has {of_row}, the statistics {of_stats}");
                self.say_of('a', campaign.id, what);
            }
        }
    }

    /// Each counted event costs what its terms say, and what its record says; it belongs to the day in which it was
    /// accepted.
    fn costs(&mut self, campaign: &Campaign<'_>) {
        let records: BTreeMap<_, _> =
            campaign.records.iter().map(|record| ((record.partition, record.offset), *record)).collect();
        for event in &campaign.events {
            let EventRow { id, kind, cost, day, .. } = event;
            let is_free = event.outcome != Outcome::Counted;
            let mut prices: BTreeSet<i64> = campaign.all_terms().map(|terms| terms.cost(*kind)).collect();
            if *kind == AdKind::Conversion && campaign.ever(|terms| terms.records) {
                prices.insert(0);
            }
            if if is_free { *cost != 0 } else { !prices.is_empty() && !prices.contains(cost) } {
                let what =
                    format!("event {id}, {:?}, was billed {cost}, and its price is one of {prices:?}", event.outcome);
                self.say_of('a', campaign.id, what);
            }
            let record = records.get(&(event.partition, event.offset)).filter(|record| record.id == *id);
            if let Some(record) = record.filter(|record| !is_free && record.cost != *cost) {
                let what = format!("event {id} was billed {cost}, and its record says {}", record.cost);
                self.say_of('a', campaign.id, what);
            }
            if let Some(record) = record.filter(|record| record.day != *day) {
                let what = format!("event {id} belongs to {}, and is in {day}", record.day);
                self.say_of('a', campaign.id, what);
            }
            if let Some((begins, ends)) = campaign.bounds_of(day)
                && !(begins - CLOCKS_DIFFER..ends + CLOCKS_DIFFER).contains(&event.accepted)
            {
                let before = (begins - event.accepted).max(event.accepted - ends) / 1_000;
                self.say_of(
                    'a',
                    campaign.id,
                    format!("event {id} is in {day}, and was accepted {before} ms beyond it"),
                );
            }
        }
        for record in campaign.records.iter().filter(|record| record.cost > 0 && record.lease.is_none()) {
            self.say_of('a', campaign.id, format!("event {} costs {}, and has no lease", record.id, record.cost));
        }
    }

    /// What a day's events cost is what was spent in it, and within its budget.
    fn days(&mut self, campaign: &Campaign<'_>) {
        let mut costs: BTreeMap<&str, i64> = BTreeMap::new();
        for event in &campaign.events {
            *costs.entry(&event.day).or_default() += event.cost;
        }
        let is_whole = campaign.row.is_none_or(|row| row.booked_out == 0);
        for day in &campaign.days {
            let cost = costs.remove(day.day.as_str()).unwrap_or_default();
            let stats = campaign.stats.iter().filter(|stat| stat.day == day.day).map(|stat| stat.spend).sum::<i64>();
            if is_whole && cost != day.spent || stats != day.spent {
                let (day, spent) = (&day.day, day.spent);
                let what =
                    format!("the events of {day} cost {cost}, the statistics have {stats}, and spent is {spent}");
                self.say_of('a', campaign.id, what);
            }
            let greatest = campaign.greatest_daily(&day.day);
            for budget in [day.budget, greatest].into_iter().flatten().filter(|budget| *budget < day.spent) {
                self.say_of('a', campaign.id, format!("in {} {} was spent, of {budget}", day.day, day.spent));
            }
        }
        for (day, cost) in costs.into_iter().filter(|(_, cost)| *cost > 0) {
            self.say_of('a', campaign.id, format!("the events of {day} cost {cost}, and nothing was spent in it"));
        }
    }

    /// Spending only grows, so at every commit it was within the budget of that time if it was so at each change.
    fn changes(&mut self, campaign: &Campaign<'_>) {
        let before = [None].into_iter().chain(campaign.changes.iter().map(Some));
        for (change, before) in campaign.changes.iter().zip(before) {
            let (revision, spent, reserved, total) =
                (change.revision, change.spent, change.reserved, change.terms.total);
            if let Some(before) = before.filter(|before| before.terms.total < spent || before.spent > spent) {
                let (had, of) = (before.spent, before.terms.total);
                let what = format!("at revision {revision} {spent} was spent, after {had} of {of}");
                self.say_of('a', campaign.id, what);
            }
            if spent + reserved > total {
                let what = format!("revision {revision}: spent {spent} and reserved {reserved}, of {total}");
                self.say_of('b', campaign.id, what);
            }
        }
    }

    /// A change that was answered 200 was made; one that was refused as too low asked for less than the least.
    fn patches(&mut self, campaign: &Campaign<'_>, history: &History) {
        for patch in &campaign.patches {
            let at = clock(&history.ads, patch.from);
            if let Some(revision) = patch.revision.filter(|_| !campaign.changes.is_empty()) {
                let change = campaign.changes.iter().find(|change| change.revision == revision);
                let is_made = change.is_some_and(|change| {
                    let terms = &change.terms;
                    patch.total.is_none_or(|total| total == terms.total)
                        && patch.daily.is_none_or(|daily| Some(daily) == terms.daily)
                        && patch.cap.is_none_or(|cap| Some(cap) == terms.cap)
                });
                if !is_made {
                    let what =
                        format!("the change at {:?} was answered as revision {revision}, and is not it", patch.from);
                    self.say_of('a', campaign.id, what);
                }
            }
            let asked = patch.total.into_iter().chain(patch.daily).min();
            if let Some((least, asked)) = patch.least.zip(asked).filter(|(least, asked)| least <= asked) {
                let what =
                    format!("a budget of {asked} was refused at {at}, and {least} is the least that is possible");
                self.say_of('b', campaign.id, what);
            }
        }
    }

    /// A report shows money that adds up to a total that the campaign had, and no more spending than that.
    fn shown(&mut self, campaign: &Campaign<'_>) {
        let totals: BTreeSet<i64> = campaign.all_terms().map(|terms| terms.total).collect();
        for report in &campaign.reports {
            let (spend, remaining) = (report.spend, report.remaining);
            if remaining < 0 || !totals.is_empty() && !totals.contains(&(spend + remaining)) {
                let what =
                    format!("a report at {:?} has {spend} spent and {remaining} left, of {totals:?}", report.from);
                self.say_of('a', campaign.id, what);
            }
        }
    }

    fn books(&mut self, books: &Books) {
        let Books { campaign, at, spent, reserved, leased, ref terms, .. } = *books;
        if spent + reserved > terms.total {
            self.say_of('b', campaign, format!("at {at:?}: spent {spent} and reserved {reserved}, of {}", terms.total));
        }
        if reserved != leased {
            self.say_of('b', campaign, format!("at {at:?}: reserved {reserved}, and the leases hold {leased}"));
        }
        if books.quiet && reserved != 0 {
            self.say_of('b', campaign, format!("{reserved} is still reserved, 20 s after all was quiet"));
        }
        for day in &books.days {
            let (name, spent, reserved, leased) = (&day.day, day.spent, day.reserved, day.leased);
            if let Some(budget) = day.budget.filter(|budget| spent + reserved > *budget) {
                let what = format!("at {at:?}: in {name} spent {spent} and reserved {reserved}, of {budget}");
                self.say_of('b', campaign, what);
            }
            if reserved != leased {
                let what = format!("at {at:?}: in {name} reserved {reserved}, and the leases hold {leased}");
                self.say_of('b', campaign, what);
            }
            if books.quiet && reserved != 0 {
                let what = format!("in {name} {reserved} is still reserved, 20 s after all was quiet");
                self.say_of('b', campaign, what);
            }
        }
    }
}
