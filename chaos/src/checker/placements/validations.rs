//! Promise 10: every validation ends, with the findings of the video at its revision.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::Found;
use super::timeline::Timeline;
use super::validate::{Finding, findings, sort};
use super::{Placed, name};
use crate::history::Span;
use crate::history::placements::{Ask, DomainRecord, ValidationRow};

/// The subscriber that validates, and keeps what events tell of campaigns.
const VALIDATOR: &str = "validator";
/// What it finds of campaigns.
const OF_CAMPAIGNS: [&str; 2] = ["campaign_missing", "campaign_ended"];
/// The longest time from the begin of a transaction to its commit, in microseconds.
const LONGEST_TRANSACTION: i64 = 10_000_000;

/// A campaign as it was from some time on: not known, or known with a status.
struct Known {
    /// When its transaction began; the least for what was always so.
    taken: i64,
    is_ended: Option<bool>,
}

impl Placed<'_> {
    /// What may be known of each campaign, in the order in which it was taken.
    fn known_campaigns(&self) -> BTreeMap<i64, Vec<Known>> {
        let taken = self.end.inbox.iter().filter(|row| row.subscriber == VALIDATOR);
        let taken: BTreeMap<&str, i64> = taken.map(|row| (row.event.as_str(), row.taken)).collect();
        let mut all: BTreeMap<i64, Vec<(Option<i64>, Known)>> = BTreeMap::new();
        for record in self.end.records.iter().filter(|record| record.kind.starts_with("campaign.")) {
            let member = |name: &str| record.data.get(name);
            let Some(campaign) = member("campaignId").and_then(Value::as_i64) else { continue };
            let Some(taken) = taken.get(record.id.as_str()).copied() else { continue };
            let is_ended = member("status").and_then(Value::as_str) == Some("ended");
            all.entry(campaign).or_default().push((record.sequence, Known { taken, is_ended: Some(is_ended) }));
        }
        let in_order = |mut known: Vec<(Option<i64>, Known)>| {
            known.sort_by_key(|(sequence, _)| *sequence);
            known.into_iter().map(|(_, known)| known).collect()
        };
        all.into_iter().map(|(campaign, known)| (campaign, in_order(known))).collect()
    }
}

/// The findings that a placement with this campaign may have: its snapshot was read between the two times.
fn may_be_found(known: Option<&Vec<Known>>, requested: i64, finished: i64) -> BTreeSet<Option<&'static str>> {
    let unknown = Known { taken: i64::MIN, is_ended: None };
    let all: Vec<&Known> = std::iter::once(&unknown).chain(known.into_iter().flatten()).collect();
    let found = |known: &Known| match known.is_ended {
        None => Some("campaign_missing"),
        Some(true) => Some("campaign_ended"),
        Some(false) => None,
    };
    let mut may = BTreeSet::new();
    for (place, known) in all.iter().enumerate() {
        let is_over = all.iter().skip(place + 1).any(|next| next.taken + LONGEST_TRANSACTION < requested);
        if known.taken <= finished && !is_over {
            may.insert(found(known));
        }
    }
    may
}

/// The findings of a report; `None` if it is not one.
fn told(findings: &Value) -> Option<Vec<Finding>> {
    let finding = |value: &Value| {
        let ids = value.get("placementIds")?.as_array()?;
        let ids: Vec<&str> = ids.iter().map(Value::as_str).collect::<Option<_>>()?;
        let finding = Finding::new(value.get("code")?.as_str()?, &ids);
        let severity = if finding.is_error { "error" } else { "warning" };
        (value.get("severity")?.as_str()? == severity && value.get("detail")?.is_string()).then_some(finding)
    };
    findings.as_array()?.iter().map(finding).collect()
}

impl Found {
    pub(super) fn validations(&mut self, placed: &Placed<'_>) {
        let rows: BTreeMap<&str, &ValidationRow> =
            placed.end.validations.iter().map(|row| (row.id.as_str(), row)).collect();
        let asked = placed.observed.tries.iter().filter(|tried| matches!(tried.ask, Ask::Validate { .. }));
        for tried in asked.filter(|tried| tried.is_done() && !placed.may_be_lost(&tried.span())) {
            let id = tried.answered("id").and_then(|id| id.as_str().map(ToOwned::to_owned)).unwrap_or_default();
            if !rows.contains_key(id.as_str()) {
                self.say(10, &format!("validation {id}"), "it was answered 202, and has no row");
            }
        }
        let products: BTreeMap<&str, bool> =
            placed.end.products.iter().map(|product| (product.id.as_str(), product.active)).collect();
        let campaigns = placed.known_campaigns();
        for row in rows.values() {
            self.validation(placed, row, &products, &campaigns);
        }
        for read in placed.observed.validations.iter().filter(|read| read.findings.is_some()) {
            let row = rows.get(read.validation.as_str());
            let expected = row.map(|row| (row.status.as_str(), row.revision, row.findings.as_ref()));
            let found = (read.status.as_str(), read.revision, read.findings.as_ref());
            let is_lost = placed.may_be_lost(&Span { from: read.from, to: read.to });
            if !is_lost && row.is_some() && expected != Some(found) {
                let what = format!("it was read as {} of revision {}: {:?}", read.status, read.revision, read.findings);
                self.say(10, &format!("validation {}", read.validation), what);
            }
        }
    }

    fn validation(
        &mut self,
        placed: &Placed<'_>,
        row: &ValidationRow,
        products: &BTreeMap<&str, bool>,
        campaigns: &BTreeMap<i64, Vec<Known>>,
    ) {
        let subject = format!("validation {}", row.id);
        let Some(timeline) = placed.timelines.get(row.video.as_str()) else {
            return self.say(10, &subject, format!("it is of {}, which is not in the topic", name(&row.video)));
        };
        let (Some(finished), Some(found)) = (row.finished, row.findings.as_ref().and_then(told)) else {
            return self.say(10, &subject, format!("it is {}, with the findings {:?}", row.status, row.findings));
        };
        if row.status != "succeeded" {
            return self.say(10, &subject, format!("it is {}", row.status));
        }
        let may_end_again = !placed.observed.restored.is_empty();
        if let Some(what) = wrong_events(timeline, row, &found, may_end_again) {
            self.say(10, &subject, what);
        }
        let place = timeline.place_of(row.revision);
        let Some((place, (_, video))) = place.and_then(|place| Some((place, timeline.video(place)?))) else {
            return self.say(10, &subject, format!("it is of revision {}, which no event made", row.revision));
        };
        let all = timeline.all(place);
        let mut expected = findings(video, &all, products);
        for (id, _, it) in &all {
            let Some(campaign) = it.campaign else { continue };
            let may = may_be_found(campaigns.get(&campaign), row.requested, finished);
            let code = of_campaign(&found, id);
            // What was found, if it may be: the comparison below tells anything else.
            let code = if may.contains(&code) { code } else { may.first().copied().flatten() };
            expected.extend(code.map(|code| Finding::new(code, &[*id])));
        }
        sort(&mut expected, &all);
        if found != expected {
            self.say(10, &subject, format!("at revision {} it found {found:?}, not {expected:?}", row.revision));
        }
    }
}

/// What a report says of a placement's campaign.
fn of_campaign(found: &[Finding], id: &str) -> Option<&'static str> {
    let of_it = |code: &&&str| found.iter().any(|it| it.code == **code && it.placements == [id]);
    OF_CAMPAIGNS.iter().find(of_it).copied()
}

/// What is wrong with the events of a validation: one asks for it, and one, or after a restoration the last one, says that it has ended, with its revision, its
/// counts, and the number that its version is twice of.
fn wrong_events(
    timeline: &Timeline<'_>,
    row: &ValidationRow,
    found: &[Finding],
    may_end_again: bool,
) -> Option<String> {
    let of_it = |kind: &'static str| {
        let is_it = move |record: &&DomainRecord| {
            record.kind == kind && record.data.get("validationId").and_then(Value::as_str) == Some(&row.id)
        };
        timeline.records().filter(is_it).collect::<Vec<_>>()
    };
    let (asked, ended) = (of_it("video.validation_requested"), of_it("video.validation_completed"));
    let counts = (asked.len(), ended.len());
    let ([asked], [earlier @ .., ended]) = (asked.as_slice(), ended.as_slice()) else {
        return Some(format!("it was asked for by {} events, and ended by {}", counts.0, counts.1));
    };
    if !earlier.is_empty() && !may_end_again {
        return Some(format!("it was ended by {} events", counts.1));
    }
    let number = |record: &DomainRecord, name: &str| record.data.get(name).and_then(Value::as_i64).unwrap_or(-1);
    let errors = i64::try_from(found.iter().filter(|finding| finding.is_error).count()).unwrap_or(i64::MAX);
    let warnings = i64::try_from(found.len()).unwrap_or(i64::MAX) - errors;
    let told = ["revision", "errors", "warnings"].map(|name| number(ended, name));
    let latest = timeline.video(2 * ended.sequence.unwrap_or_default()).map_or(0, |(revision, _)| revision);
    let is_so = told == [row.revision, errors, warnings]
        && ended.data.get("status").and_then(Value::as_str) == Some(&row.status)
        && ended.sequence.map(|number| 2 * number) == Some(row.version)
        && ended.causation.as_ref() == Some(&asked.id)
        && (number(asked, "revision")..=latest).contains(&row.revision);
    (!is_so).then(|| format!("it was asked for by {}, and ended by {}: {row:?}", asked.data, ended.data))
}
