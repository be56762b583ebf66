//! Promise 7 for campaigns: each change of one is told once, and placements know the last one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::Found;
use super::Placed;
use crate::history::ads::{AdsEnd, MIDNIGHT};
use crate::history::placements::DomainRecord;

/// The revision of a campaign that an event tells of.
fn revision(record: &DomainRecord) -> Option<i64> {
    record.data.get("revision").and_then(Value::as_i64)
}

impl Found {
    /// `began` is when the run did, in microseconds since 1970.
    pub(super) fn campaigns_told(&mut self, placed: &Placed<'_>, ads: &AdsEnd, began: i64) {
        let clock = |at: std::time::Duration| began.saturating_add(i64::try_from(at.as_micros()).unwrap_or(i64::MAX));
        let mut told: BTreeMap<i64, BTreeMap<i64, &DomainRecord>> = BTreeMap::new();
        for record in placed.end.records.iter().filter(|record| !record.redriven) {
            let campaign = record.key.strip_prefix("campaign-").and_then(|id| id.parse().ok());
            let Some((campaign, revision)) = campaign.zip(revision(record)) else { continue };
            if told.entry(campaign).or_default().insert(revision, record).is_some() {
                self.say(7, &record.key, format!("revision {revision} was told twice"));
            }
        }
        // Such a campaign got its time zone from the run itself, past the API.
        let by_hand = |campaign| {
            let row = ads.campaigns.iter().find(|row| row.campaign == campaign);
            row.and_then(|row| row.external_id.as_deref()).is_some_and(|name| name.starts_with(MIDNIGHT))
        };
        let is_lost = |at: i64| {
            let mut restored = placed.observed.restored.iter();
            restored.any(|it| (clock(it.span.from)..=clock(it.span.to)).contains(&at))
        };
        for change in &ads.changes {
            let record = told.get(&change.campaign).and_then(|told| told.get(&change.revision));
            let status = record.and_then(|record| record.data.get("status")).and_then(Value::as_str);
            let name = format!("campaign-{}", change.campaign);
            match record {
                None if !by_hand(change.campaign) && !is_lost(change.at) => {
                    self.say(7, &name, format!("revision {} has no event", change.revision));
                }
                Some(record)
                    if status != Some(&change.terms.status) || record.kind != kind(change.revision, status) =>
                {
                    let (kind, terms) = (&record.kind, &change.terms.status);
                    let what = format!("revision {} is {terms}, and was told as {kind}, {status:?}", change.revision);
                    self.say(7, &name, what);
                }
                _ => {}
            }
        }
        for (campaign, revisions) in &told {
            let name = format!("campaign-{campaign}");
            // A history may be cut down to placements.
            let is_here = ads.changes.iter().any(|change| change.campaign == *campaign);
            for revision in revisions.keys().filter(|_| is_here) {
                let is_so =
                    |change: &crate::history::ads::Change| (change.campaign, change.revision) == (*campaign, *revision);
                if !ads.changes.iter().any(is_so) {
                    self.say(7, &name, format!("revision {revision} was told, and is not there"));
                }
            }
            let last = revisions.values().max_by_key(|record| record.sequence);
            let expected =
                last.and_then(|record| Some((record.data.get("status")?.as_str()?.to_owned(), record.sequence?)));
            let known = placed.end.campaigns.iter().find(|known| known.campaign == *campaign);
            let known = known.map(|known| (known.status.clone(), known.sequence));
            if known != expected {
                self.say(7, &name, format!("placements know {known:?} of it, and {expected:?} was told last"));
            }
        }
    }
}

/// The type of the event of this revision, after which the campaign has this status.
fn kind(revision: i64, status: Option<&str>) -> &'static str {
    match (revision, status) {
        (1, _) => "campaign.created",
        (_, Some("ended")) => "campaign.ended",
        _ => "campaign.updated",
    }
}
