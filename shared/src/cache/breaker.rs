//! A circuit breaker: without it, every read would wait for the timeout while Redis is down.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The failures in a row that open it.
const THRESHOLD: u32 = 3;
/// How long it stays open before it allows one command again.
const COOLDOWN: Duration = Duration::from_millis(500);

/// Closed while commands succeed; open after some failures in a row; then it allows one command per cooldown, and a
/// success closes it.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// `None` while closed.
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().open_until.is_none()
    }

    /// Whether [`Self::allows`] would return true now.
    pub(super) fn is_due(&self) -> bool {
        self.0.lock().open_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Whether a command may be sent now.
    pub(super) fn allows(&self) -> bool {
        self.0.lock().allows(Instant::now())
    }

    /// A command succeeded: closes it.
    pub(super) fn succeeded(&self) {
        *self.0.lock() = State::default();
    }

    /// A command failed. Returns whether this failure opened it.
    pub(super) fn failed(&self) -> bool {
        self.0.lock().failed(Instant::now())
    }

    /// Opens it at once, after an answer that is conclusive.
    pub(super) fn trip(&self) {
        self.0.lock().trip(Instant::now());
    }
}

impl State {
    fn allows(&mut self, now: Instant) -> bool {
        let is_closed = self.open_until.is_none();
        let tries = self.open_until.is_some_and(|until| now >= until);
        if tries {
            // This call may try; the others are rejected for another cooldown.
            self.open_until = Some(now + COOLDOWN);
        }
        is_closed || tries
    }

    fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= THRESHOLD {
            self.open_until = Some(now + COOLDOWN);
        }
        self.failures == THRESHOLD
    }

    fn trip(&mut self, now: Instant) {
        *self = Self { failures: THRESHOLD, open_until: Some(now + COOLDOWN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_waits_tries_once_and_closes() {
        let (mut state, start) = (State::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!state.failed(start));
        assert!(!state.failed(start));
        assert!(state.allows(start), "two failures are not enough");
        assert!(state.open_until.is_none());
        assert!(state.failed(start), "the third one opens it");
        assert!(state.open_until.is_some());
        assert!(!state.allows(after(499)));
        assert!(state.allows(after(500)), "one may try");
        assert!(!state.allows(after(500)), "and only one");
        assert!(!state.failed(after(501)), "it is open already");
        assert!(!state.allows(after(1_000)));
        assert!(state.allows(after(1_001)));
        let breaker = Breaker(state.into());
        assert!(!breaker.is_closed());
        breaker.succeeded();
        assert!(breaker.is_closed() && breaker.allows());
        assert!(!breaker.failed(), "the count starts anew");
    }

    #[test]
    fn tripped_it_is_open_at_once_and_closes_like_any_other() {
        let (mut state, start) = (State::default(), Instant::now());
        state.trip(start);
        assert!(!state.allows(start + COOLDOWN - Duration::from_millis(1)));
        assert!(state.allows(start + COOLDOWN) && !state.allows(start + COOLDOWN), "one may try");
        let breaker = Breaker(state.into());
        breaker.succeeded();
        assert!(breaker.is_closed() && breaker.allows());
    }
}
