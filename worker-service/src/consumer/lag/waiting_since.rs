//! Since when records are known to wait, computed from the observed ends of the partition. Pure.
//!
//! The time of a record that has not come in yet is unknown, and with `CreateTime` it is set by the producer and may be
//! wrong by years. But the record is known to exist since an end of the partition was observed behind it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most observations that are kept. Beyond that, those that closely follow another one are dropped: a reported
/// age is too low by at most a fiftieth of the oldest one.
const MOST_MOMENTS: usize = 512;

/// The observed ends of a partition, and when each was first observed; both increase.
#[derive(Debug, Default)]
pub(super) struct WaitingSince(VecDeque<(i64, Instant)>);

impl WaitingSince {
    /// How long the partition has been known to have a record at this offset or behind it; zero if it is not known to
    /// have one. `end` is the partition's current end, if known; `at` is `None` if the position is not known yet.
    pub(super) fn waiting(&mut self, now: Instant, at: Option<i64>, end: Option<i64>) -> Duration {
        let seen = &mut self.0;
        if let Some(end) = end {
            // The topic was recreated, or has lost its end.
            if seen.back().is_some_and(|(before, _)| *before > end) {
                seen.clear();
            }
            if seen.back().is_none_or(|(before, _)| *before < end) {
                seen.push_back((end, now));
            }
            if seen.len() > MOST_MOMENTS {
                thin_out(seen, now);
            }
        }
        while seen.front().is_some_and(|(end, _)| at.is_some_and(|at| *end <= at)) {
            seen.pop_front();
        }
        seen.front().map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }
}

/// Keeps about half of the observations at most, evenly spread over the time, and the last one.
fn thin_out(seen: &mut VecDeque<(i64, Instant)>, now: Instant) {
    let age = seen.front().map_or(Duration::ZERO, |(_, first)| now.saturating_duration_since(*first));
    let apart = age / (MOST_MOMENTS / 2) as u32;
    let last = seen.pop_back();
    let mut kept = None;
    seen.retain(|(_, since)| {
        let keep = kept.is_none_or(|kept| since.saturating_duration_since(kept) > apart);
        if keep {
            kept = Some(*since);
        }
        keep
    });
    seen.extend(last);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(count: usize) -> Duration {
        Duration::from_secs(count as u64)
    }

    proptest! {
        /// At each moment the result is the same as that of the whole history.
        #[test]
        fn a_record_waits_since_the_end_was_first_seen_behind_it(
            looks in prop::collection::vec((0..4i64, 0..4i64, prop::bool::weighted(0.9)), 1..100)
        ) {
            let (mut known, begin) = (WaitingSince::default(), Instant::now());
            let (mut end, mut at, mut ends) = (0, 0, Vec::new());
            for (now, (appended, done, is_told)) in looks.into_iter().enumerate() {
                end += appended;
                at = (at + done).min(end);
                ends.push(is_told.then_some(end));
                let found = known.waiting(begin + seconds(now), Some(at), is_told.then_some(end));
                let first = ends.iter().position(|told| told.is_some_and(|end| end > at));
                prop_assert_eq!(found, first.map_or(Duration::ZERO, |first| seconds(now - first)));
            }
        }
    }

    #[test]
    fn who_gets_on_and_never_catches_up_is_as_late_as_what_comes_next() {
        let (mut known, begin) = (WaitingSince::default(), Instant::now());
        // Each second, a hundred records arrive and fifty are finished.
        let late = |now: usize| known.waiting(begin + seconds(now), Some(50 * now as i64), Some(100 * now as i64));
        let ages: Vec<_> = (1..=600).map(late).collect();
        assert_eq!((ages[99], ages[599]), (seconds(100 - 51), seconds(600 - 301)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_first_is_not_forgotten() {
        let (mut known, begin) = (WaitingSince::default(), Instant::now());
        for now in 0..100_000_usize {
            let found = known.waiting(begin + seconds(now), Some(0), Some(1 + now as i64));
            assert_eq!(found, seconds(now));
            assert!(known.0.len() <= MOST_MOMENTS);
        }
        // For every other record the age is approximate.
        for at in (1..98_000_usize).step_by(777) {
            let found = known.waiting(begin + seconds(100_000), Some(at as i64), None);
            let (least, most) = (seconds(100_000 - at - 2_000), seconds(100_000 - at));
            assert!((least..=most).contains(&found), "at {at}: {found:?}");
        }
    }

    #[test]
    fn a_log_that_begins_anew_begins_with_a_new_time() {
        let (mut known, begin) = (WaitingSince::default(), Instant::now());
        let mut look = |now, at, end| known.waiting(begin + seconds(now), at, end);
        assert_eq!(look(0, Some(3), Some(9)), Duration::ZERO);
        assert_eq!(look(5, Some(3), None), seconds(5), "it is known to be there, whoever is silent");
        assert_eq!(look(6, None, None), seconds(6), "wherever it stands");
        assert_eq!(look(7, Some(0), Some(2)), Duration::ZERO);
        assert_eq!(look(9, Some(0), Some(2)), seconds(2));
    }
}
