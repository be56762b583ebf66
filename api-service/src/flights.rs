//! Reads of PostgreSQL that others may join: those that found the flight's own lease standing.
//!
//! A lease is deleted by every fence, so who finds it standing knows that the flight's read is not
//! older than any fence before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shared::cache::{Cache, CacheKey, Lease};
use shared::store::{Failure, Store};
use tokio::sync::watch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The number of events applied; 0 where there is no resource.
    pub version: i64,
    pub body: Bytes,
}

/// A landed flight: what it found, and what the cache made of it.
pub type Landed = Result<(Found, Settled), Failure>;

/// To wait for a flight with; closed without a word where it crashed.
pub type Ticket = watch::Receiver<Option<Landed>>;

/// The flights of this process, by lease.
#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<HashMap<Lease, Ticket>>>);

impl Flights {
    /// The flight of a lease, if it is one of this process.
    pub fn join(&self, lease: &Lease) -> Option<Ticket> {
        self.entries().get(lease).cloned()
    }

    /// Starts one: reads, by a query that begins no earlier than this call, fills while the lease stands, tells. It goes
    /// on whatever becomes of the request that started it.
    pub fn start<R>(&self, cache: Cache, key: CacheKey, lease: Lease, read: R) -> Ticket
    where
        R: Future<Output = Result<Found, Failure>> + Send + 'static,
    {
        let (tell, ticket) = watch::channel(None);
        self.entries().insert(lease.clone(), ticket.clone());
        let entry = Entry { flights: self.clone(), lease };
        tokio::spawn(async move {
            let landed = match read.await {
                Ok(found) => {
                    let settled = settle(&cache, &key, Some(&entry.lease), &found).await;
                    Ok((found, settled))
                }
                Err(error) => {
                    cache.release(&key, &entry.lease).await;
                    Err(error)
                }
            };
            let _ = tell.send(Some(landed));
            drop(entry);
        });
        ticket
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Lease, Ticket>> {
        // The map is whole whenever the lock is free, whatever the holder's fate.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its flight off the list, also where the flight panics.
struct Entry {
    flights: Flights,
    lease: Lease,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.flights.entries().remove(&self.lease);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is in there.
    Stored,
    /// It is not, and nothing older is.
    Passed,
    /// Redis gave no answer: something older may be in there until its fence comes.
    Unanswered,
}

/// Puts in what was read under a lease that stood when the read began. Where it came too late, or had
/// no lease, it sees to it that nothing older is read after it.
pub async fn settle(cache: &Cache, key: &CacheKey, lease: Option<&Lease>, found: &Found) -> Settled {
    let body = (found.version > 0).then(|| std::str::from_utf8(&found.body).unwrap_or_default());
    if let Some(lease) = lease
        && cache.fill(key, lease, body).await
    {
        return Settled::Stored;
    }
    match body {
        Some(body) if !cache.at_least(key, found.version, body).await => Settled::Unanswered,
        _ => Settled::Passed,
    }
}

/// Waits for a flight; none where it crashed.
pub async fn wait(mut ticket: Ticket) -> Option<Landed> {
    let landed = ticket.wait_for(Option::is_some).await.ok()?;
    landed.clone()
}

/// Reads what PostgreSQL has for a key.
///
/// # Errors
/// PostgreSQL away, or too slow.
pub async fn read(store: &Store, key: &CacheKey) -> Result<Found, Failure> {
    let loaded = (key.kind().load)(store, std::slice::from_ref(key.id())).await?;
    Ok(match loaded.into_iter().next() {
        Some(loaded) => Found { version: loaded.version, body: loaded.body.into() },
        None => Found { version: 0, body: Bytes::new() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_flight_that_crashed_is_told_so() {
        let (tell, ticket) = watch::channel(None);
        drop(tell);
        assert!(wait(ticket).await.is_none());
    }
}
