//! The circuit breaker of a Redis server: without it, every read would wait for the timeout while Redis is down.

use std::time::Duration;

use crate::runtime::breaker::Breaker;

/// The failures in a row that open it.
const THRESHOLD: u32 = 3;
/// How long it stays open before it allows one command again.
const COOLDOWN: Duration = Duration::from_millis(500);

/// A closed one.
pub(super) const fn breaker() -> Breaker {
    Breaker::new(THRESHOLD, COOLDOWN)
}
