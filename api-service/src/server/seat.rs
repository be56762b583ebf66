//! What a connection is doing, as far as others have to know.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

/// Shared by a connection, its service, and those who look for room.
#[derive(Debug)]
pub(super) struct Seat {
    /// How often it went from waiting for headers to a request and back: even while it waits.
    phase: AtomicU64,
    /// Since when it is idle, in nanoseconds after `start`; 0 while it is not.
    idle_since: AtomicU64,
    start: Instant,
    leave: Notify,
}

impl Seat {
    /// A connection that begins to wait for its first request; times count from `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self { phase: AtomicU64::new(0), idle_since: AtomicU64::new(0), start, leave: Notify::new() }
    }

    /// The headers are in.
    pub(super) fn in_request(&self) {
        self.phase.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered; what comes now is the next one.
    pub(super) fn between_requests(&self) {
        self.phase.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> u64 {
        self.phase.load(Ordering::Relaxed)
    }

    /// Nothing is under way here.
    pub(super) fn idle(&self) {
        if self.idle_since().is_none() {
            let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.idle_since.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// Something is under way again.
    pub(super) fn busy(&self) {
        self.idle_since.store(0, Ordering::Relaxed);
    }

    /// The smaller, the longer it has been idle.
    pub(super) fn idle_since(&self) -> Option<u64> {
        Some(self.idle_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// Asks it to make room.
    pub(super) fn ask_to_leave(&self) {
        self.leave.notify_one();
    }

    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }
}
