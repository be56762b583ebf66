//! For how long a server has not done what it was asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Begins with the first failure, and is over with the first success.
#[derive(Debug)]
pub(super) struct Trouble {
    origin: Instant,
    /// Milliseconds after `origin`; 0 while there is none.
    since: AtomicU64,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { origin: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl Trouble {
    /// A failure. Says for how long there has been nothing else.
    pub(super) fn failed(&self) -> Duration {
        self.failed_at(self.origin.elapsed())
    }

    /// A success.
    pub(super) fn succeeded(&self) {
        // Read first, because nearly always there is nothing to do.
        if self.since.load(Ordering::Relaxed) > 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    fn failed_at(&self, now: Duration) -> Duration {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
        match self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Duration::ZERO,
            Err(since) => Duration::from_millis(now.saturating_sub(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It lasts from the first failure behind the last success.
        #[test]
        fn it_lasts_since_the_last_success(steps in proptest::collection::vec((0_u64..3_000, any::<bool>()), 1..50)) {
            let (trouble, mut now, mut first) = (Trouble::default(), 1, None);
            for (pause, fails) in steps {
                now += pause;
                if fails {
                    let since = *first.get_or_insert(now);
                    prop_assert_eq!(trouble.failed_at(Duration::from_millis(now)), Duration::from_millis(now - since));
                } else {
                    trouble.succeeded();
                    first = None;
                }
            }
        }
    }
}
