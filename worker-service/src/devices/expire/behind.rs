//! How far the expiry is behind: what an alert looks at, for a table that is not expired any more grows without a word.

use std::time::Duration;

use shared::devices::queries::Age;
use tokio::time::Instant;

/// For how long the oldest row that is old enough may have been there, as far as this worker knows: what was last found,
/// and the time since. So it grows whenever nothing is found out, whatever the reason.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    found: Duration,
    at: Instant,
}

impl Behind {
    /// Nothing has been known since then.
    pub(super) fn unknown(since: Instant) -> Self {
        Self { found: Duration::ZERO, at: since }
    }

    pub(super) fn found(&mut self, behind: Duration, now: Instant) {
        *self = Self { found: behind, at: now };
    }

    pub(super) fn show(self, age: Age) {
        let rows = match age {
            Age::Written => "written",
            Age::Appended => "appended",
        };
        metrics::gauge!("events_expiry_behind_seconds", "rows" => rows).set(self.of(Instant::now()).as_secs_f64());
    }

    fn of(self, now: Instant) -> Duration {
        self.found.saturating_add(now.saturating_duration_since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever was found, and however long ago: it is never less than the truth, which cannot grow faster than time.
        #[test]
        fn it_is_what_was_found_last_and_the_time_since(
            steps in prop::collection::vec((0_u64..100_000, prop::option::of(0_u64..1_000_000)), 0..20),
        ) {
            let mut now = Instant::now();
            let mut behind = Behind::unknown(now);
            let mut expected = 0;
            for (passed, found) in steps {
                now += Duration::from_secs(passed);
                expected += passed;
                if let Some(found) = found {
                    behind.found(Duration::from_secs(found), now);
                    expected = found;
                }
                prop_assert_eq!(behind.of(now).as_secs(), expected);
            }
        }
    }
}
