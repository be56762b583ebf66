//! Checks the books of all campaigns, some at a time: the sums of a campaign's life take a while.

use metrics::gauge;
use shared::ads::queries;
use shared::store::{Failure, Store};
use tokio::time::Instant;

use super::TASK;

/// The campaigns that are checked at once.
const MOST: u32 = 200;

/// A round through all campaigns.
pub(super) struct Audit {
    /// Campaigns up to this one were checked in this round.
    after: i64,
    /// How many are checked next: half as many after each failure.
    most: u32,
    /// How many break an invariant, of this round so far and of the one before.
    found: usize,
    before: usize,
    /// No campaign of this round was skipped.
    is_whole: bool,
    /// When the last whole round ended; before that, when the task began.
    ended: Instant,
}

impl Default for Audit {
    fn default() -> Self {
        Self { after: 0, most: MOST, found: 0, before: 0, is_whole: true, ended: Instant::now() }
    }
}

impl Audit {
    /// Checks the next campaigns. What a round has found is shown until the next one has ended. A campaign whose books
    /// cannot be checked does not keep the others from it.
    pub(super) async fn look(&mut self, store: &Store) -> Result<(), Failure> {
        gauge!("ads_audit_age_seconds").set(self.ended.elapsed().as_secs_f64());
        // Its name is asked for first: that PostgreSQL answers shows that it is not away.
        let alone = if self.most == 1 { queries::next_campaign(store, self.after).await? } else { None };
        match (queries::audit(store, self.after, self.most).await, alone) {
            (Ok(audit), _) => {
                if !audit.broken.is_empty() {
                    let campaigns = &audit.broken;
                    tracing::error!(task = TASK, ?campaigns, "the books of campaigns break an invariant");
                }
                self.checked(&audit, Instant::now());
            }
            (Err(error), Some(campaign)) => {
                tracing::error!(task = TASK, campaign, %error, "the books of a campaign cannot be checked");
                self.skip(campaign);
            }
            (Err(error), None) => {
                self.halve();
                return Err(error);
            }
        }
        Ok(())
    }

    fn checked(&mut self, audit: &queries::Audit, now: Instant) {
        (self.after, self.most) = (audit.next, MOST);
        self.found += audit.broken.len();
        gauge!("ads_budget_violations").set(self.found.max(self.before) as f64);
        if audit.next == 0 {
            (self.before, self.found) = (self.found, 0);
            if self.is_whole {
                self.ended = now;
            }
            self.is_whole = true;
        }
    }

    fn halve(&mut self) {
        self.most = (self.most / 2).max(1);
    }

    fn skip(&mut self, campaign: i64) {
        (self.after, self.most, self.is_whole) = (campaign, MOST, false);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A round through these campaigns, of which the check of some fails: those that were checked, and those that were
    /// skipped, in order.
    fn round(audit: &mut Audit, all: &BTreeSet<i64>, bad: &BTreeSet<i64>, now: Instant) -> (Vec<i64>, Vec<i64>) {
        let (mut checked, mut skipped) = (Vec::new(), Vec::new());
        for _ in 0..100_000 {
            let asked: Vec<_> = all.range(audit.after + 1..).copied().take(audit.most as usize).collect();
            if !asked.iter().any(|id| bad.contains(id)) {
                let is_full = asked.len() == audit.most as usize;
                let next = asked.last().copied().filter(|_| is_full).unwrap_or_default();
                checked.extend(asked);
                audit.checked(&queries::Audit { broken: Vec::new(), next }, now);
                if next == 0 {
                    return (checked, skipped);
                }
            } else if let (1, [campaign]) = (audit.most, &asked[..]) {
                skipped.push(*campaign);
                audit.skip(*campaign);
            } else {
                audit.halve();
            }
        }
        panic!("the round does not end");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn each_campaign_is_checked_but_those_that_fail_alone(
            all in proptest::collection::btree_set(1_i64..5_000, 0..1_000),
            bad in proptest::collection::btree_set(1_i64..5_000, 0..20),
        ) {
            let mut audit = Audit::default();
            let began = audit.ended;
            let first = began + Duration::from_secs(60);
            let (checked, skipped) = round(&mut audit, &all, &bad, first);
            let good: Vec<i64> = all.difference(&bad).copied().collect();
            let failing: Vec<i64> = all.intersection(&bad).copied().collect();
            let ended = if failing.is_empty() { first } else { began };
            prop_assert_eq!((checked, skipped), (good, failing));
            prop_assert_eq!(audit.ended, ended, "only a whole round counts");

            // It can be checked again.
            let second = first + Duration::from_secs(60);
            let (checked, skipped) = round(&mut audit, &all, &BTreeSet::new(), second);
            let all: Vec<i64> = all.into_iter().collect();
            prop_assert_eq!((checked, skipped), (all, Vec::new()));
            prop_assert_eq!((audit.ended, audit.most), (second, MOST));
        }
    }

    #[test]
    fn what_a_round_has_found_counts_until_the_next_one_ends() {
        let mut audit = Audit::default();
        let now = audit.ended;
        let mut checked = |broken: Vec<i64>, next| {
            audit.checked(&queries::Audit { broken, next }, now);
            audit.found.max(audit.before)
        };
        let seen = [checked(vec![7], 200), checked(Vec::new(), 0), checked(Vec::new(), 200), checked(Vec::new(), 0)];
        assert_eq!(seen, [1, 1, 1, 0]);
    }
}
