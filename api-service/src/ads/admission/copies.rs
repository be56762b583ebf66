//! The id of an impression in the set of its user. A request may name the impression more than once: its copies have one
//! place, and release it together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::cache::Entry;

/// All copies of an impression in a request.
pub(super) struct Copies(Arc<Shared>);

/// The id, for one of the copies.
pub(super) struct Held(Arc<Shared>);

struct Shared {
    entry: Arc<Entry>,
    /// The copies that were not taken back. One that may have been sent never is.
    held: AtomicUsize,
}

impl Copies {
    pub(super) fn of(entry: &Arc<Entry>) -> Self {
        Self(Arc::new(Shared { entry: Arc::clone(entry), held: AtomicUsize::new(0) }))
    }

    /// For one more copy.
    pub(super) fn hold(&self) -> Held {
        self.0.held.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(&self.0))
    }
}

impl Held {
    /// A copy was certainly not sent. The entry that has to be released, if that is true of all copies.
    pub(super) fn take_back(self) -> Option<Arc<Entry>> {
        let Self(shared) = self;
        let is_last = shared.held.fetch_sub(1, Ordering::Relaxed) == 1;
        is_last.then(|| Arc::clone(&shared.entry))
    }
}
