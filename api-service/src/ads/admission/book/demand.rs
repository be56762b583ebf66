//! How many events of a campaign come in two seconds.

use std::time::{Duration, Instant};

use shared::ads::AdEventType;

const WINDOW: Duration = Duration::from_secs(1);
const FORESEEN_MS: u64 = 2_000;

/// Counts of impressions, clicks and conversions: in the second that has begun, and in the one before.
#[derive(Debug)]
pub(super) struct Demand {
    began: Instant,
    current: [u64; 3],
    before: [u64; 3],
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, current: [0; 3], before: [0; 3] }
    }

    pub(super) fn note(&mut self, event_type: AdEventType, now: Instant) {
        self.turn(now);
        let [impressions, clicks, conversions] = &mut self.current;
        *match event_type {
            AdEventType::Impression => impressions,
            AdEventType::Click => clicks,
            AdEventType::Conversion => conversions,
        } += 1;
    }

    /// How many of each type come in two seconds, by those of the last one or two.
    pub(super) fn of_two_seconds(&mut self, now: Instant) -> [u64; 3] {
        self.turn(now);
        let elapsed = now.saturating_duration_since(self.began);
        let span_ms = u64::try_from((WINDOW + elapsed).as_millis()).unwrap_or(u64::MAX).max(1);
        let mut foreseen = [0; 3];
        for (foreseen, (current, before)) in foreseen.iter_mut().zip(self.current.iter().zip(self.before)) {
            *foreseen = (current + before).saturating_mul(FORESEEN_MS).div_ceil(span_ms);
        }
        foreseen
    }

    fn turn(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < WINDOW {
            return;
        }
        if elapsed < 2 * WINDOW {
            self.before = std::mem::take(&mut self.current);
            self.began += WINDOW;
        } else {
            *self = Self::new(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_are_foreseen_by_the_last_ones() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut demand = Demand::new(start);
        assert_eq!(demand.of_two_seconds(start), [0; 3]);
        for n in 0..10 {
            demand.note(AdEventType::Impression, after(n * 100));
        }
        demand.note(AdEventType::Click, after(950));
        assert_eq!(demand.of_two_seconds(after(1_000)), [20, 2, 0]);
        assert_eq!(demand.of_two_seconds(after(1_999)), [11, 2, 0]);
        assert_eq!(demand.of_two_seconds(after(2_000)), [0, 0, 0], "they are over a second old");
        demand.note(AdEventType::Conversion, after(2_100));
        assert_eq!(demand.of_two_seconds(after(2_100)), [0, 0, 2]);
        assert_eq!(demand.of_two_seconds(after(9_000)), [0; 3]);
    }
}
