//! Campaigns for which PostgreSQL has no answer that this version can read: each is named once in the log, and is left
//! out of the questions for a second, so that it does not stop the others.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::ads::CampaignId;

/// How long a campaign is not asked for after a failure.
const LEFT_OUT: Duration = Duration::from_secs(1);
/// After this time without a question, nobody needs to know that it failed.
const REMEMBERED: Duration = Duration::from_secs(60);

/// When each of them failed last.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<HashMap<CampaignId, Instant>>);

impl Failing {
    /// Whether to ask for this campaign now.
    pub(super) fn may_be_asked(&self, campaign: CampaignId, now: Instant) -> bool {
        let failed_at = self.locked().get(&campaign).copied();
        failed_at.is_none_or(|at| now.saturating_duration_since(at) >= LEFT_OUT)
    }

    /// Returns whether it is new that this campaign fails.
    pub(super) fn failed(&self, campaign: CampaignId, error: impl Display, now: Instant) -> bool {
        let mut all = self.locked();
        all.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        let is_new = all.insert(campaign, now).is_none();
        drop(all);
        if is_new {
            tracing::error!(%campaign, %error, "the terms of a campaign cannot be read: its events get 503");
        }
        is_new
    }

    /// There is an answer for these campaigns.
    pub(super) fn worked(&self, campaigns: impl Iterator<Item = CampaignId>) {
        let mut all = self.locked();
        if all.is_empty() {
            return;
        }
        for campaign in campaigns {
            if all.remove(&campaign).is_some() {
                tracing::info!(%campaign, "the terms of a campaign can be read again");
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<CampaignId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_is_left_out_for_a_second_and_named_once() {
        let (all, start) = (Failing::default(), Instant::now());
        let [bad, good] = [1, 2].map(|id| CampaignId::try_from(id).unwrap());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(all.may_be_asked(bad, at(0)));
        assert!(all.failed(bad, "why", at(0)), "it is new");
        assert!(!all.may_be_asked(bad, at(999)) && all.may_be_asked(bad, at(1_000)) && all.may_be_asked(good, at(0)));
        assert!(!all.failed(bad, "why", at(1_000)) && !all.may_be_asked(bad, at(1_999)));
        all.worked([good].into_iter());
        assert!(!all.may_be_asked(bad, at(1_999)));
        all.worked([good, bad].into_iter());
        assert!(all.may_be_asked(bad, at(1_001)) && all.failed(bad, "why", at(2_000)));
        // Nobody has asked for it since.
        assert!(all.failed(good, "why", at(70_000)) && all.failed(bad, "why", at(70_000)));
    }
}
