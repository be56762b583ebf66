//! Reads of PostgreSQL under a lease of this process; a request that finds this lease in Redis joins the read.
//!
//! Every fence deletes the lease. So a request that finds it knows that the read, which began after the lease was
//! taken, is not older than any fence so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use shared::cache::{Cache, CacheKey, Lease};
use shared::store::Failure;

use super::collapse::Collapse;
use super::{Loaded, Source};

/// The result of a flight: the state, and its source.
type FlightResult = Result<(Loaded, Source), Failure>;

/// A flight to wait for; `None` if it panicked.
type Flight = Shared<BoxFuture<'static, Option<FlightResult>>>;

/// The flights of this process, by lease.
#[derive(Clone, Default)]
pub(super) struct SingleFlight(Arc<Mutex<HashMap<Lease, Flight>>>);

impl SingleFlight {
    /// The flight of a lease, if this process took the lease.
    pub(super) fn join(&self, lease: &Lease) -> Option<Flight> {
        self.entries().get(lease).cloned()
    }

    /// Starts a flight: a query that starts no earlier than this call, and a fill while the lease stands. It continues
    /// if the request that started it is dropped.
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
        // Locked before the flight is spawned, so that it is inserted before it can end.
        let mut entries = self.entries();
        let flight = tokio::spawn(fly).map(Result::ok).boxed().shared();
        entries.insert(lease, flight.clone());
        flight
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Lease, Flight>> {
        // A panic of the lock's holder cannot leave the map inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes its flight from the map, also after a panic.
struct Entry {
    flights: SingleFlight,
    lease: Lease,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.flights.entries().remove(&self.lease);
    }
}

/// Fills the cache if the lease stood when the read began and still stands. Otherwise makes sure that no later read
/// gets an older state from the cache.
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
