//! Part h: reports, judged like the reads of resources (promise 5). A report's version here is the number of events
//! that it counts: its own version grows with changes of the terms, too.

use std::collections::BTreeMap;

use super::super::{Device, Found, Judged};
use super::{Campaign, name};
use crate::history::{End, History, Place, Read, Row, Sent};

impl Found {
    pub(super) fn reports(&mut self, history: &History, end: &End, campaigns: &BTreeMap<i64, Campaign<'_>>) -> Judged {
        for cached in end.ads.cached.iter().filter(|cached| cached.body != cached.stored) {
            let what = format!("cached is {}, and stored is {}", cached.body, cached.stored);
            self.say_of('h', cached.campaign, what);
        }
        for campaign in campaigns.values() {
            self.versions(campaign);
        }
        let view = History {
            reads: history.ads.reports.iter().map(read).collect(),
            commits: history.ads.commits.clone(),
            redis_away: history.redis_away.clone(),
            postgres_away: history.postgres_away.clone(),
            workers_away: history.workers_away.clone(),
            bounds: history.bounds,
            ..History::default()
        };
        let facts: Vec<_> =
            campaigns.values().map(|campaign| (name(campaign.id), sent(campaign), rows(campaign))).collect();
        let devices = facts.iter().map(|(name, sent, rows)| {
            (name.as_str(), Device { name, sent, rows: rows.iter().collect(), ..Device::default() })
        });
        let mut found = Found::default();
        found.freshness(&view, &devices.collect());
        found.fences(history, &view, campaigns);
        for broken in found.broken {
            self.broken.push(super::Broken { promise: 6, part: Some('h'), ..broken });
        }
        found.judged
    }

    /// A version of a report is the same to everybody, and none counts more events than there are.
    fn versions(&mut self, campaign: &Campaign<'_>) {
        let there = i64::try_from(campaign.events.len()).unwrap_or(i64::MAX);
        let mut known: BTreeMap<i64, [i64; 7]> = BTreeMap::new();
        for report in &campaign.reports {
            let counts = [report.impressions, report.clicks, report.conversions, report.void, report.invalid];
            let [impressions, clicks, conversions, void, invalid] = counts;
            let all = [impressions, clicks, conversions, void, invalid, report.spend, report.remaining];
            let before = *known.entry(report.version).or_insert(all);
            if before != all {
                let what = format!("version {} of its report was {before:?}, and {all:?}", report.version);
                self.say_of('h', campaign.id, what);
            }
            if report.events() > there {
                let what = format!("a report at {:?} counts {} events of {there}", report.from, report.events());
                self.say_of('h', campaign.id, what);
            }
        }
    }
}

pub(super) fn read(report: &crate::history::ads::Report) -> Read {
    Read {
        device: name(report.campaign),
        from: report.from,
        to: report.to,
        version: report.events(),
        event: String::new(),
        payload: serde_json::Value::Null,
        bypass: report.bypass,
    }
}

/// When each event was first sent.
fn sent(campaign: &Campaign<'_>) -> Vec<Sent> {
    let mut first = BTreeMap::new();
    for one in &campaign.tries {
        first.entry(&one.id).or_insert(one.from);
    }
    let sent = |(id, at): (&String, std::time::Duration)| Sent {
        id: id.clone(),
        payload: serde_json::Value::Null,
        first: Place { post: 0, index: 0, at },
        acknowledged: None,
        times: 1,
    };
    first.into_iter().map(sent).collect()
}

/// Each event of the campaign changed its report.
fn rows(campaign: &Campaign<'_>) -> Vec<Row> {
    let row = |event: &&crate::history::ads::EventRow| Row {
        device: name(event.campaign),
        id: event.id.clone(),
        transaction: 0,
        applied: true,
        partition: event.partition,
        offset: event.offset,
        appended: 0,
        payload: serde_json::Value::Null,
    };
    campaign.events.iter().map(row).collect()
}
