//! Part d: each event that was answered 202 is there once, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Found;
use super::Campaign;
use super::caps::while_evicting;
use crate::history::History;
use crate::history::ads::{Ads, EventRow, Outcome, Try};

/// The shortest time for which an API must be frozen to send an event of a lease that is closed already: a lease is
/// used until 10 s before it may be closed, and Kafka takes or refuses an event within 8 s.
const BEYOND_A_LEASE: Duration = Duration::from_secs(2);

impl Found {
    pub(super) fn events(&mut self, campaign: &Campaign<'_>, history: &History) {
        let mut sent: BTreeMap<&str, Vec<&Try>> = BTreeMap::new();
        for one in &campaign.tries {
            sent.entry(&one.id).or_default().push(one);
        }
        let mut rows: BTreeMap<&str, &EventRow> = BTreeMap::new();
        for event in &campaign.events {
            if rows.insert(&event.id, event).is_some() {
                self.say_of('d', campaign.id, format!("event {} is there twice", event.id));
            }
            match sent.get(event.id.as_str()).and_then(|tries| tries.first()) {
                None => self.say_of('d', campaign.id, format!("event {} has a row, and nobody sent it", event.id)),
                Some(one) if (&one.user, one.kind) != (&event.user, event.kind) => {
                    let (id, user, kind) = (&event.id, &event.user, event.kind);
                    let what = format!("event {id}, {:?} of {}, became {kind:?} of {user}", one.kind, one.user);
                    self.say_of('d', campaign.id, what);
                }
                Some(_) => {}
            }
            if event.outcome == Outcome::Invalid && !campaign.ever(|terms| terms.filters) {
                let reason = event.reason.as_deref().unwrap_or_default();
                let what = format!("event {} is invalid ({reason}), and the campaign has no rule", event.id);
                self.say_of('d', campaign.id, what);
            }
        }
        let letters: BTreeSet<&str> = campaign.letters.iter().map(|letter| letter.id.as_str()).collect();
        for letter in &campaign.letters {
            let (id, reason, error) = (&letter.id, &letter.reason, &letter.error);
            let what = format!("event {id:?} of {} became a dead letter ({reason}: {error})", letter.key);
            self.say_of('d', campaign.id, what);
        }
        self.in_the_log(campaign, &sent, &rows, &letters);
        for (id, tries) in &sent {
            self.answers(campaign, &history.ads, tries, rows.get(id).copied(), letters.contains(id));
        }
    }

    /// The log has what was sent, and each record of it had its effect.
    fn in_the_log(
        &mut self,
        campaign: &Campaign<'_>,
        sent: &BTreeMap<&str, Vec<&Try>>,
        rows: &BTreeMap<&str, &EventRow>,
        letters: &BTreeSet<&str>,
    ) {
        let mut logged: BTreeSet<&str> = BTreeSet::new();
        for record in &campaign.records {
            let id = record.id.as_str();
            if !logged.insert(id) {
                continue;
            }
            if !sent.contains_key(id) {
                self.say_of('d', campaign.id, format!("event {id} is in the log, and nobody sent it"));
            }
            if !rows.contains_key(id) && !letters.contains(id) {
                self.say_of('d', campaign.id, format!("event {id} is in the log, and had no effect"));
            }
        }
        for id in rows.keys().filter(|id| !logged.contains(**id)) {
            self.say_of('d', campaign.id, format!("event {id} has a row, and is not in the log"));
        }
    }

    /// What became of one event agrees with the answers to all its tries.
    fn answers(&mut self, campaign: &Campaign<'_>, ads: &Ads, tries: &[&Try], row: Option<&EventRow>, is_dead: bool) {
        let Some(id) = tries.first().map(|one| &one.id) else { return };
        if tries.iter().all(|one| one.is_refused()) && (row.is_some() || is_dead) {
            let codes: BTreeSet<_> = tries.iter().map(|one| one.code.as_deref().unwrap_or_default()).collect();
            let what = format!("event {id} was refused each time ({codes:?}), and was taken");
            self.say_of('d', campaign.id, what);
        }
        let accepted: Vec<&&Try> = tries.iter().filter(|one| one.is_accepted()).collect();
        if accepted.is_empty() {
            return;
        }
        let Some(row) = row else {
            if !is_dead {
                self.say_of('d', campaign.id, format!("event {id} was answered 202, and is not there"));
            }
            return;
        };
        let reason = row.reason.as_deref().unwrap_or_default();
        let is_unsure =
            campaign.ever(|terms| terms.allows) || accepted.iter().any(|one| while_evicting(ads, one.span()));
        let may_be_capped = reason == "capped" && is_unsure;
        let is_excused = may_be_capped || tries.iter().any(|one| is_beyond_a_lease(ads, one));
        if row.outcome == Outcome::Void && !is_excused {
            self.say_of('d', campaign.id, format!("event {id} was answered 202, and is void ({reason})"));
        }
        // The copy that counts may be an earlier one, whose answer did not arrive.
        let days: BTreeSet<&str> = accepted.iter().filter_map(|one| one.day.as_deref()).collect();
        let is_plain = tries.len() == 1;
        if is_plain && days.first().is_some_and(|day| *day != row.day) {
            let what = format!("event {id} was accepted for {days:?}, and is in {}", row.day);
            self.say_of('d', campaign.id, what);
        }
        let costs: BTreeSet<i64> = accepted.iter().filter_map(|one| one.cost).collect();
        let is_counted = row.outcome == Outcome::Counted;
        if is_plain && is_counted && costs.first().is_some_and(|cost| *cost != row.cost) {
            let what = format!("event {id} was accepted for {costs:?}, and was billed {}", row.cost);
            self.say_of('d', campaign.id, what);
        }
    }
}

/// Whether its API was frozen for so long that its lease may have been closed meanwhile.
fn is_beyond_a_lease(ads: &Ads, one: &Try) -> bool {
    ads.frozen.iter().any(|frozen| {
        let lasted = frozen.span.to.saturating_sub(frozen.span.from);
        frozen.api == one.api && lasted >= BEYOND_A_LEASE && frozen.span.meets(&one.span())
    })
}
