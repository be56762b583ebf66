//! Measures how long a server has failed without a success in between.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time of the first failure since the last success.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<Instant>>);

impl Trouble {
    /// Notes a failure. Returns the time since the first failure after the last success.
    pub(super) fn failed(&self) -> Duration {
        self.failed_at(Instant::now())
    }

    /// Notes a success.
    pub(super) fn succeeded(&self) {
        *self.0.lock() = None;
    }

    fn failed_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.0.lock().get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The time counts from the first failure after the last success.
        #[test]
        fn it_lasts_since_the_last_success(steps in proptest::collection::vec((0_u64..3_000, any::<bool>()), 1..50)) {
            let (trouble, mut now, mut first) = (Trouble::default(), Instant::now(), None);
            for (pause, fails) in steps {
                now += Duration::from_millis(pause);
                if fails {
                    prop_assert_eq!(trouble.failed_at(now), now - *first.get_or_insert(now));
                } else {
                    trouble.succeeded();
                    first = None;
                }
            }
        }
    }
}
