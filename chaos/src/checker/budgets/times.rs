//! Which day a moment belongs to, and which terms were in force.

use std::time::Duration;

use super::Campaign;
use crate::history::ads::{Ads, Terms, Try};

/// A moment of the run, in microseconds since 1970.
pub(super) fn clock(ads: &Ads, at: Duration) -> i64 {
    ads.began.saturating_add(i64::try_from(at.as_micros()).unwrap_or(i64::MAX))
}

impl<'a> Campaign<'a> {
    /// The day of the campaign that this moment belongs to, if that is known.
    pub(super) fn day_at(&self, micros: i64) -> Option<&'a str> {
        let day = self.row?.days.iter().rev().find(|day| day.begins <= micros)?;
        Some(&day.day)
    }

    /// When this day begins and ends, in microseconds since 1970.
    pub(super) fn bounds_of(&self, day: &str) -> Option<(i64, i64)> {
        let mut days = self.row?.days.iter().skip_while(|known| known.day != day);
        Some((days.next()?.begins, days.next()?.begins))
    }

    /// The day in which an event was admitted, as far as its answer or its times say.
    pub(super) fn day_of(&self, ads: &Ads, one: &'a Try) -> Option<&'a str> {
        if let Some(day) = &one.day {
            return Some(day);
        }
        let [from, to] = [one.from, one.to].map(|at| self.day_at(clock(ads, at)));
        from.filter(|_| from == to)
    }

    /// The terms that were in force during some part of this day, up to a moment.
    pub(super) fn terms_on(&self, day: &str, until: i64) -> Vec<&'a Terms> {
        let next = self.changes.iter().skip(1).map(Some).chain([None]);
        let in_force = self.changes.iter().zip(next).filter(|(change, next)| {
            change.day.as_str() <= day && change.at <= until && next.is_none_or(|next| next.day.as_str() >= day)
        });
        let in_force: Vec<_> = in_force.map(|(change, _)| &change.terms).collect();
        if in_force.is_empty() { self.all_terms().collect() } else { in_force }
    }

    /// The greatest cap of a day; `None` if there was none for a while.
    pub(super) fn greatest_cap(&self, day: &str) -> Option<usize> {
        greatest(self.terms_on(day, i64::MAX).iter().map(|terms| terms.cap))
    }

    /// The greatest budget of a day; `None` if there was none for a while.
    pub(super) fn greatest_daily(&self, day: &str) -> Option<i64> {
        greatest(self.terms_on(day, i64::MAX).iter().map(|terms| terms.daily))
    }
}

/// The greatest of these limits; `None` if one of them is none, or there is none.
fn greatest<T: Ord>(limits: impl Iterator<Item = Option<T>>) -> Option<T> {
    limits.collect::<Option<Vec<T>>>()?.into_iter().max()
}
