//! The connections that are in use, and for how long: what a pool that has none left can tell of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Work that has its connection for longer waits for an answer that is overdue: of a statement that is slow, of a lock,
/// or of a server that a connection no longer leads to.
const OVERDUE: Duration = Duration::from_secs(1);

/// Since when each connection is in use.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<Mutex<Uses>>);

#[derive(Debug, Default)]
struct Uses {
    next: u64,
    since: HashMap<u64, Instant>,
}

/// One that ends when it is dropped.
#[derive(Debug)]
pub(super) struct Use {
    number: u64,
    all: InUse,
}

impl InUse {
    pub(super) fn begin(&self) -> Use {
        let mut uses = self.uses();
        let number = uses.next;
        uses.next += 1;
        uses.since.insert(number, Instant::now());
        Use { number, all: self.clone() }
    }

    /// What to say where the server answers, and the pool has no connection.
    pub(super) fn told(&self) -> String {
        let overdue = self.uses().since.values().filter(|since| since.elapsed() > OVERDUE).count();
        told(overdue)
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        // It is whole whenever the lock is free, whatever the holder's fate.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.all.uses().since.remove(&self.number);
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
        let (first, second) = (all.begin(), all.begin());
        drop(first);
        assert_eq!(all.uses().since.keys().copied().collect::<Vec<_>>(), [second.number]);
        assert_eq!(all.told(), told(0), "it has only begun");
        let long_ago = Instant::now().checked_sub(2 * OVERDUE).unwrap();
        all.uses().since.insert(second.number, long_ago);
        assert_eq!(all.told(), told(1));
        drop(second);
        assert!(all.uses().since.is_empty());
        assert_eq!(all.told(), told(0));
    }
}
