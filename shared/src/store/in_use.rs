//! The connections in use, and for how long, to explain why the pool has none left.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Work that uses a connection for longer waits for an overdue answer: of a slow statement, a lock, or a server that
/// the connection no longer reaches.
const OVERDUE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<Mutex<Vec<Weak<Instant>>>>);

/// A use of a connection, which ends when this is dropped.
pub(super) type Use = Arc<Instant>;

impl InUse {
    pub(super) fn begin(&self) -> Use {
        let since = Arc::new(Instant::now());
        let mut all = self.0.lock();
        all.retain(|used| used.strong_count() > 0);
        all.push(Arc::downgrade(&since));
        since
    }

    /// The reason if the server answers but the pool has no connection.
    pub(super) fn told(&self) -> String {
        let overdue = |used: &&Weak<Instant>| used.upgrade().is_some_and(|since| since.elapsed() > OVERDUE);
        told(self.0.lock().iter().filter(overdue).count())
    }
}

fn told(overdue: usize) -> String {
    const ALL: &str = "it answers, but all of DATABASE_MAX_CONNECTIONS are in use";
    if overdue == 0 {
        return ALL.to_owned();
    }
    format!(
        "{ALL}, and the answers on {overdue} of them are overdue: look for locks and slow statements, or for connections \
         that were silently cut, before you allow more"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_ends_with_its_holder() {
        let all = InUse::default();
        let (first, _second) = (all.begin(), all.begin());
        assert_eq!(all.told(), told(0), "they have only begun");
        let long_ago = Arc::new(Instant::now().checked_sub(2 * OVERDUE).unwrap());
        all.0.lock().push(Arc::downgrade(&long_ago));
        assert_eq!(all.told(), told(1));
        drop((first, long_ago));
        assert_eq!(all.told(), told(0));
        let _third = all.begin();
        assert_eq!(all.0.lock().len(), 2, "what has ended is forgotten");
    }
}
