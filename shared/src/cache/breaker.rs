//! Keeps a dead cache from costing every read its timeout.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row after which it opens.
const THRESHOLD: u32 = 3;
/// How long it stays open before one question is let through again.
const COOLDOWN: Duration = Duration::from_millis(500);

/// Closed while all is well; open after some failures in a row; then one question at a time tries
/// whether it may close again.
#[derive(Debug)]
pub(super) struct Breaker {
    since: Instant,
    failures: AtomicU32,
    /// Milliseconds after `since`; 0 while closed.
    open_until: AtomicU64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { since: Instant::now(), failures: AtomicU32::new(0), open_until: AtomicU64::new(0) }
    }
}

impl Breaker {
    /// Whether all is well, as far as is known.
    pub(super) fn is_closed(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) == 0
    }

    /// Whether somebody may ask now.
    pub(super) fn is_due(&self) -> bool {
        self.now() >= self.open_until.load(Ordering::Relaxed)
    }

    /// Whether to ask at all.
    pub(super) fn allows(&self) -> bool {
        self.allows_at(self.now())
    }

    /// There was an answer.
    pub(super) fn succeeded(&self) {
        // Read first, because nearly always there is nothing to do. A failure of the same moment may
        // leave it open with a count of 0: so the one is not concluded from the other.
        if self.failures.load(Ordering::Relaxed) > 0 || !self.is_closed() {
            self.failures.store(0, Ordering::Relaxed);
            self.open_until.store(0, Ordering::Relaxed);
        }
    }

    /// There was none. Says whether this is what opened it.
    pub(super) fn failed(&self) -> bool {
        self.failed_at(self.now())
    }

    /// There was an answer that leaves no doubt: it opens at once.
    pub(super) fn trip(&self) {
        self.trip_at(self.now());
    }

    fn trip_at(&self, now: u64) {
        self.failures.store(THRESHOLD, Ordering::Relaxed);
        self.open_until.store(now + millis(COOLDOWN), Ordering::Relaxed);
    }

    fn allows_at(&self, now: u64) -> bool {
        let until = self.open_until.load(Ordering::Relaxed);
        // Whoever moves the end of the wait is the one that tries; the others keep waiting.
        until == 0
            || now >= until
                && self
                    .open_until
                    .compare_exchange(until, now + millis(COOLDOWN), Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
    }

    fn failed_at(&self, now: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= THRESHOLD {
            self.open_until.store(now + millis(COOLDOWN), Ordering::Relaxed);
        }
        failures == THRESHOLD
    }

    fn now(&self) -> u64 {
        millis(self.since.elapsed()).max(1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_waits_tries_once_and_closes() {
        let breaker = Breaker::default();
        assert!(!breaker.failed_at(1));
        assert!(!breaker.failed_at(1));
        assert!(breaker.allows_at(1), "two failures are not enough");
        assert!(breaker.is_closed());
        assert!(breaker.failed_at(1), "the third one opens it");
        assert!(!breaker.is_closed());
        assert!(!breaker.allows_at(500));
        assert!(breaker.allows_at(501), "one may try");
        assert!(!breaker.allows_at(501), "and only one");
        assert!(!breaker.failed_at(502), "it is open already");
        assert!(!breaker.allows_at(1001));
        assert!(breaker.allows_at(1002));
        breaker.succeeded();
        assert!(breaker.is_closed() && breaker.allows_at(1002));
        assert!(!breaker.failed_at(1003), "the count starts anew");
    }

    #[test]
    fn tripped_it_is_open_at_once_and_closes_like_any_other() {
        let breaker = Breaker::default();
        breaker.trip_at(1);
        assert!(!breaker.is_closed() && !breaker.allows_at(500));
        assert!(breaker.allows_at(501) && !breaker.allows_at(501), "one may try");
        breaker.succeeded();
        assert!(breaker.is_closed() && breaker.allows_at(502));
    }

    #[test]
    fn open_with_a_count_of_nothing_it_closes_too() {
        // The third failure was counted, then an answer came in, then the failure opened it.
        let breaker = Breaker::default();
        breaker.open_until.store(500, Ordering::Relaxed);
        assert!(breaker.allows_at(500));
        breaker.succeeded();
        assert!(breaker.is_closed());
    }
}
