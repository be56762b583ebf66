//! Part h: a change of a campaign's terms that was answered 200 is a fence of its report, too, and the version of a
//! report never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Found;
use super::super::staleness::StalenessAllowance;
use super::reports::read;
use super::{Campaign, name};
use crate::history::{History, Read, Span};

/// For how long before and after a change a read may show that an API does without Redis. While it does, it asks Redis
/// again each half a second.
const AROUND: Duration = Duration::from_secs(1);

impl Found {
    /// `view` has the allowances for reports.
    pub(super) fn fences(&mut self, history: &History, view: &History, campaigns: &BTreeMap<i64, Campaign<'_>>) {
        let without_redis = without_redis(history);
        let outages = StalenessAllowance::all(view);
        let allowed: Vec<_> = outages.iter().map(StalenessAllowance::of_any).collect();
        // Whatever becomes of a fence: no body is older than this.
        let max_age = history.bounds.ttl + history.bounds.fill_delay;
        for campaign in campaigns.values() {
            let patches = campaign.patches.iter().filter(|patch| patch.status == 200);
            let changes: Vec<(Duration, i64)> = patches
                .filter_map(|patch| {
                    let around = Span { from: patch.from.saturating_sub(AROUND), to: patch.to + AROUND };
                    let may_be_put_off = without_redis.iter().any(|span| span.meets(&around));
                    Some((if may_be_put_off { patch.to + max_age } else { patch.to }, patch.revision?))
                })
                .collect();
            let reads: Vec<Read> =
                campaign.reports.iter().map(|report| Read { version: report.version, ..read(report) }).collect();
            let since = |read: &Read| allowed.iter().filter_map(|allowed| allowed.since(read)).min();
            let judged: Vec<_> = reads.iter().map(|read| (since(read).unwrap_or(read.from), read)).collect();
            for ((since, read), report) in judged.iter().zip(&campaign.reports) {
                let fenced = changes.iter().filter(|(at, _)| at < since).map(|(_, revision)| *revision).max();
                let Some(fenced) = fenced else { continue };
                let later = campaign.changes.iter().filter(|change| change.revision >= fenced);
                let totals: BTreeSet<i64> = later.map(|change| change.terms.total).collect();
                let total = report.spend + report.remaining;
                if !totals.is_empty() && !totals.contains(&total) {
                    let at = read.from;
                    let what =
                        format!("a report at {at:?} is of a total of {total}, after revision {fenced}: {totals:?}");
                    self.say_of('h', campaign.id, what);
                }
            }
            self.went_back(&name(campaign.id), judged);
        }
    }
}

/// When an API may have put the fence of a change off. A read of that time says that it bypassed Redis; but not
/// necessarily if Redis takes reads and no writes, or the API stands still.
fn without_redis(history: &History) -> Vec<Span> {
    let reads = history.reads.iter().filter(|read| read.bypass).map(|read| Span { from: read.from, to: read.to });
    let reports = history.ads.reports.iter().filter(|report| report.bypass);
    let reports = reports.map(|report| Span { from: report.from, to: report.to });
    let away = history.redis_away.iter().map(|away| Span { to: away.to + history.bounds.fences_sent, ..*away });
    reads.chain(reports).chain(away).chain(history.ads.frozen.iter().map(|frozen| frozen.span)).collect()
}
