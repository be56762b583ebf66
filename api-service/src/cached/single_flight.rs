//! Reads of PostgreSQL that others may join: those that found the flight's own lease standing.
//!
//! A lease is deleted by every fence, so who finds it standing knows that the flight's read is not
//! older than any fence before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use shared::cache::{Cache, CacheKey, Lease};
use shared::store::Failure;

use super::collapse::Collapse;
use super::{Loaded, Source};

/// A landed flight: what it found, and where that is from.
type Landed = Result<(Loaded, Source), Failure>;

/// A flight, to be waited for: none where it crashed.
type Flight = Shared<BoxFuture<'static, Option<Landed>>>;

/// The flights of this process, by lease.
#[derive(Clone, Default)]
pub(super) struct SingleFlight(Arc<Mutex<HashMap<Lease, Flight>>>);

impl SingleFlight {
    /// The flight of a lease, if it is one of this process.
    pub(super) fn join(&self, lease: &Lease) -> Option<Flight> {
        self.entries().get(lease).cloned()
    }

    /// Starts one: reads, by a query that begins no earlier than this call, and fills while the lease stands. It goes on
    /// whatever becomes of the request that started it.
    pub(super) fn start(&self, cache: Cache, key: CacheKey, lease: Lease, collapse: Collapse) -> Flight {
        let entry = Entry { flights: self.clone(), lease: lease.clone() };
        let fly = async move {
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
            drop(entry);
            landed
        };
        // On the list before it can land.
        let mut entries = self.entries();
        let flight = tokio::spawn(fly).map(Result::ok).boxed().shared();
        entries.insert(lease, flight.clone());
        flight
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Lease, Flight>> {
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
