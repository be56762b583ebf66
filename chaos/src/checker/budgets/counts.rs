//! Part a: counts. What the stores count is what their events are.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Found;
use super::Campaign;
use crate::history::ads::{AdKind, CampaignRow, Outcome};

/// Impressions, clicks, conversions, void events and users.
type Counts = [i64; 5];

impl Found {
    /// Only where all events are still there.
    pub(super) fn counts(&mut self, campaign: &Campaign<'_>, row: &CampaignRow) {
        self.users(campaign, row);
        self.counts_of_days(campaign, row.users.is_some());
        self.invalid(campaign);
    }

    /// Each user of a counted event counts once.
    fn users(&mut self, campaign: &Campaign<'_>, row: &CampaignRow) {
        let counted = campaign.events.iter().filter(|event| event.outcome == Outcome::Counted);
        let users = number(counted.map(|event| &event.user).collect::<BTreeSet<_>>().len());
        if let Some(stored) = row.users.filter(|stored| *stored != users) {
            self.say_of('a', campaign.id, format!("{users} users, and the campaign has {stored}"));
        }
    }

    /// The statistics of a day are those of its events; in each day, each user counts once.
    fn counts_of_days(&mut self, campaign: &Campaign<'_>, has_users: bool) {
        let mut expected: BTreeMap<&str, Counts> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for event in &campaign.events {
            let [impressions, clicks, conversions, void, users] = expected.entry(&event.day).or_default();
            let count = match (event.outcome, event.kind) {
                (Outcome::Invalid, _) => continue,
                (Outcome::Void, _) => void,
                (Outcome::Counted, kind) => {
                    *users += i64::from(has_users && seen.insert((&event.day, &event.user)));
                    match kind {
                        AdKind::Impression => impressions,
                        AdKind::Click => clicks,
                        AdKind::Conversion => conversions,
                    }
                }
            };
            *count += 1;
        }
        let mut stored: BTreeMap<&str, Counts> = BTreeMap::new();
        for stat in &campaign.stats {
            let users = stat.users.unwrap_or_default();
            let hour = [stat.impressions, stat.clicks, stat.conversions, stat.void, users];
            for (sum, count) in stored.entry(&stat.day).or_default().iter_mut().zip(hour) {
                *sum += count;
            }
        }
        for day in expected.keys().chain(stored.keys()).collect::<BTreeSet<_>>() {
            let [expected, stored] = [&expected, &stored].map(|counts| counts.get(day).copied().unwrap_or_default());
            if expected != stored {
                let what = format!("in {day} the events are {expected:?}, and the statistics have {stored:?}");
                self.say_of('a', campaign.id, what);
            }
        }
    }

    /// Each reason has as many events as are invalid for it.
    fn invalid(&mut self, campaign: &Campaign<'_>) {
        let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
        for event in campaign.events.iter().filter(|event| event.outcome == Outcome::Invalid) {
            *expected.entry(event.reason.as_deref().unwrap_or_default()).or_default() += 1;
        }
        let stored: BTreeMap<&str, i64> =
            campaign.invalid.iter().map(|row| (row.reason.as_str(), row.events)).collect();
        if expected != stored {
            let what = format!("the invalid events are {expected:?}, and their counts are {stored:?}");
            self.say_of('a', campaign.id, what);
        }
    }
}

fn number(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}
