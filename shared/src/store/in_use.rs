//! The connections that are in use, and for how long: what a pool that has none left can tell of them.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Work that has its connection for longer waits for an answer that is overdue: of a statement that is slow, of a lock,
/// or of a server that a connection no longer leads to.
const OVERDUE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<Mutex<Vec<Weak<Instant>>>>);

/// One that ends when it is dropped.
pub(super) type Use = Arc<Instant>;

impl InUse {
    pub(super) fn begin(&self) -> Use {
        let since = Arc::new(Instant::now());
        let mut all = self.0.lock();
        all.retain(|used| used.strong_count() > 0);
        all.push(Arc::downgrade(&since));
        since
    }

    /// What to say where the server answers, and the pool has no connection.
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
