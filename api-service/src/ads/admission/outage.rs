//! Says once that something fails, and once that it works again.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(super) struct Outage {
    what: &'static str,
    is_known: AtomicBool,
}

impl Outage {
    /// `what` is the end of `cannot …`.
    pub(super) const fn of(what: &'static str) -> Self {
        Self { what, is_known: AtomicBool::new(false) }
    }

    pub(super) fn failed(&self, error: impl Display) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "cannot {}", self.what);
        }
    }

    pub(super) fn worked(&self) {
        if self.is_known.load(Ordering::Relaxed) && self.is_known.swap(false, Ordering::Relaxed) {
            tracing::info!("can {} again", self.what);
        }
    }
}
