//! Reads of PostgreSQL that others may join: those that found the flight's own lease standing.
//!
//! A lease is deleted by every fence, so who finds it standing knows that the flight's read is not
//! older than any fence before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::cache::{Cache, CacheKey, Lease};
use shared::store::Failure;
use tokio::sync::watch;

use super::collapse::Collapse;
use super::{Loaded, Source};

/// A landed flight: what it found, and where that is from.
type Landed = Result<(Loaded, Source), Failure>;

/// To wait for a flight with; closed without a word where it crashed.
pub(super) type Waiter = watch::Receiver<Option<Landed>>;

/// The flights of this process, by lease.
#[derive(Clone, Default)]
pub(super) struct SingleFlight(Arc<Mutex<HashMap<Lease, Waiter>>>);

impl SingleFlight {
    /// The flight of a lease, if it is one of this process.
    pub(super) fn join(&self, lease: &Lease) -> Option<Waiter> {
        self.entries().get(lease).cloned()
    }

    /// Starts one: reads, by a query that begins no earlier than this call, fills while the lease stands, tells. It goes
    /// on whatever becomes of the request that started it.
    pub(super) fn start(&self, cache: Cache, key: CacheKey, lease: Lease, collapse: Collapse) -> Waiter {
        let (tell, waiter) = watch::channel(None);
        self.entries().insert(lease.clone(), waiter.clone());
        let entry = Entry { flights: self.clone(), lease };
        tokio::spawn(async move {
            let landed = match collapse.read(&key).await {
                Ok(found) => {
                    let source = settle(&cache, &key, Some(&entry.lease), &found).await;
                    Ok((found, source))
                }
                Err(error) => {
                    cache.release(&key, &entry.lease).await;
                    Err(error)
                }
            };
            let _ = tell.send(Some(landed));
            drop(entry);
        });
        waiter
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Lease, Waiter>> {
        // The map is whole whenever the lock is free, whatever the holder's fate.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its flight off the list, also where the flight panics.
struct Entry {
    flights: SingleFlight,
    lease: Lease,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.flights.entries().remove(&self.lease);
    }
}

/// Puts in what was read under a lease that stood when the read began. Where it came too late, or had
/// no lease, it sees to it that nothing older is read after it.
pub(super) async fn settle(cache: &Cache, key: &CacheKey, lease: Option<&Lease>, found: &Loaded) -> Source {
    let body = (found.version > 0).then(|| std::str::from_utf8(&found.body).unwrap_or_default());
    if let Some(lease) = lease
        && cache.fill(key, lease, body).await
    {
        return Source::Stored;
    }
    match body {
        Some(body) if !cache.at_least(key, found.version, body).await => Source::Bypass,
        _ => Source::Miss,
    }
}

/// Waits for a flight; none where it crashed.
pub(super) async fn wait(mut waiter: Waiter) -> Option<Landed> {
    let landed = waiter.wait_for(Option::is_some).await.ok()?;
    landed.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_flight_that_crashed_is_told_so() {
        let (tell, waiter) = watch::channel(None);
        drop(tell);
        assert!(wait(waiter).await.is_none());
    }
}
