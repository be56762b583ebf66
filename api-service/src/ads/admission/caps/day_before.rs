//! Impressions that may have been accepted on the day before.

use std::time::Instant;

use shared::ads::caps::set_name;
use shared::cache::{Found, NewId};

use super::super::Asks;
use super::super::book::{Cap, DayBefore};
use super::{Caps, Impression, picked, put};

impl Caps {
    /// Whether the ids of impressions are in the sets of their users: one answer for each, in order. `None`: nobody can
    /// tell.
    pub(in super::super) async fn find(&self, impressions: &[Impression<'_>]) -> Vec<Option<bool>> {
        let ids: Vec<_> = impressions.iter().map(|impression| impression.new.clone()).collect();
        let mut answers = self.sets.find(&ids).await;
        let unknown = answers.iter().map(|answer| match answer {
            Found::Unknown(serial) => Some(*serial),
            Found::There | Found::Absent | Found::Unsure => None,
        });
        let again = self.fill_unknown(impressions, unknown.collect()).await;
        if !again.is_empty() {
            put(&mut answers, &again, self.sets.find(&picked(&ids, &again)).await);
        }
        let is_there = |answer| match answer {
            Found::There => Some(true),
            Found::Absent => Some(false),
            Found::Unknown(_) | Found::Unsure => None,
        };
        answers.into_iter().map(is_there).collect()
    }
}

impl<'a> Impression<'a> {
    /// The same impression, if it was admitted on the day before.
    pub(in super::super) fn of_day_before(
        caps: &Caps,
        asks: &Asks<'a>,
        cap: &Cap,
        before: DayBefore,
        now: Instant,
    ) -> Self {
        let &Asks { campaign, user, id, .. } = asks;
        let entry = caps.sets.entry(&set_name(campaign, user, before.day), id.clone());
        let ttl = cap.day_ends.saturating_duration_since(now);
        Self { campaign, user, day: before.day, new: NewId { entry, most: cap.most, since: before.begins, ttl } }
    }
}
