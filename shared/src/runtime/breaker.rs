//! A circuit breaker: while a server is down, its callers fail at once instead of waiting for their timeouts.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Closed while calls succeed; open after some failures in a row; then it allows one call per cooldown, and a success
/// closes it.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    cooldown: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    /// `None` while closed.
    open_until: Option<Instant>,
}

impl State {
    const CLOSED: Self = Self { failures: 0, open_until: None };
}

impl Breaker {
    /// A closed one. `threshold` failures in a row open it, and it stays open for `cooldown` before it allows one call
    /// again.
    pub const fn new(threshold: u32, cooldown: Duration) -> Self {
        Self { threshold, cooldown, state: Mutex::new(State::CLOSED) }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().open_until.is_none()
    }

    /// Whether [`Self::allows`] would return true now.
    pub fn is_due(&self) -> bool {
        self.state.lock().open_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Whether a call may be made now.
    pub fn allows(&self) -> bool {
        self.allows_at(Instant::now())
    }

    /// A call succeeded: closes it.
    pub fn succeeded(&self) {
        *self.state.lock() = State::CLOSED;
    }

    /// A call failed. Returns whether this failure opened it.
    pub fn failed(&self) -> bool {
        self.failed_at(Instant::now())
    }

    /// Opens it at once, after an answer that is conclusive.
    pub fn trip(&self) {
        self.trip_at(Instant::now());
    }

    fn allows_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let is_closed = state.open_until.is_none();
        let tries = state.open_until.is_some_and(|until| now >= until);
        if tries {
            // This call may try; the others are rejected for another cooldown.
            state.open_until = Some(now + self.cooldown);
        }
        is_closed || tries
    }

    fn failed_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.threshold {
            state.open_until = Some(now + self.cooldown);
        }
        state.failures == self.threshold
    }

    fn trip_at(&self, now: Instant) {
        *self.state.lock() = State { failures: self.threshold, open_until: Some(now + self.cooldown) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_millis(500);

    #[test]
    fn it_opens_waits_tries_once_and_closes() {
        let (breaker, start) = (Breaker::new(3, COOLDOWN), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!breaker.failed_at(start));
        assert!(!breaker.failed_at(start));
        assert!(breaker.allows_at(start), "two failures are not enough");
        assert!(breaker.is_closed() && breaker.is_due());
        assert!(breaker.failed_at(start), "the third one opens it");
        assert!(!breaker.is_closed());
        assert!(!breaker.allows_at(after(499)));
        assert!(breaker.allows_at(after(500)), "one may try");
        assert!(!breaker.allows_at(after(500)), "and only one");
        assert!(!breaker.failed_at(after(501)), "it is open already");
        assert!(!breaker.allows_at(after(1_000)));
        assert!(breaker.allows_at(after(1_001)));
        assert!(!breaker.is_closed());
        breaker.succeeded();
        assert!(breaker.is_closed() && breaker.allows());
        assert!(!breaker.failed(), "the count starts anew");
    }

    #[test]
    fn tripped_it_is_open_at_once_and_closes_like_any_other() {
        let (breaker, start) = (Breaker::new(3, COOLDOWN), Instant::now());
        breaker.trip_at(start);
        assert!(!breaker.allows_at(start + COOLDOWN - Duration::from_millis(1)));
        assert!(breaker.allows_at(start + COOLDOWN) && !breaker.allows_at(start + COOLDOWN), "one may try");
        breaker.succeeded();
        assert!(breaker.is_closed() && breaker.allows());
    }

    #[test]
    fn how_many_failures_open_it_and_for_how_long_is_its_owners_choice() {
        let (breaker, start) = (Breaker::new(1, Duration::from_secs(9)), Instant::now());
        assert!(breaker.failed_at(start));
        assert!(
            !breaker.allows_at(start + Duration::from_secs(8)) && breaker.allows_at(start + Duration::from_secs(9))
        );
    }
}
