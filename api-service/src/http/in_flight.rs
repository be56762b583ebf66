//! How many bytes of bodies may be in memory at once.
//!
//! They are counted as they come, and as they unpack: who promises a large body and sends none
//! takes nobody's room. A subject has a share of it, so that no one token's bodies, however slowly
//! they come, keep all others' out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Code, Problem};

/// One subject's share is this part of all, though no less than the largest body takes, packed.
const SHARE: usize = 4;
/// The most that one body takes: a batch that is unpacked in the largest window, and its buffers.
pub(crate) const LARGEST_BODY: usize = 17 * 1024 * 1024;

pub struct InFlight {
    all: Arc<Semaphore>,
    shares: Arc<SubjectQuotas>,
}

#[derive(Debug)]
struct SubjectQuotas {
    most: usize,
    taken: Mutex<HashMap<Arc<str>, usize>>,
}

/// What one body takes up, until it is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    shares: Arc<SubjectQuotas>,
    /// Of whose share it is; of nobody's, where it is not told.
    subject: Option<Arc<str>>,
}

impl InFlight {
    pub fn new(bytes: usize) -> Self {
        let shares = SubjectQuotas { most: (bytes / SHARE).max(LARGEST_BODY), taken: Mutex::default() };
        Self { all: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))), shares: Arc::new(shares) }
    }

    /// MemoryPermit for a body of up to `limit` bytes that is about to be read, where there is enough for
    /// its `Content-Length`. None is taken yet.
    pub fn room(&self, headers: &HeaderMap, limit: usize) -> Result<MemoryPermit, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if self.left() < told.unwrap_or(0).min(limit) {
            return Err(overloaded("too many requests are being read; try again later"));
        }
        Ok(self.empty())
    }

    /// MemoryPermit that takes nothing up yet.
    pub fn empty(&self) -> MemoryPermit {
        MemoryPermit { all: Arc::clone(&self.all), held: None, shares: Arc::clone(&self.shares), subject: None }
    }

    pub fn left(&self) -> usize {
        self.all.available_permits()
    }
}

impl SubjectQuotas {
    fn take(&self, subject: &Arc<str>, bytes: usize) -> bool {
        let mut all = self.taken();
        let taken = all.get(subject).copied().unwrap_or_default().saturating_add(bytes);
        let fits = taken <= self.most;
        if fits {
            all.insert(Arc::clone(subject), taken);
        }
        fits
    }

    fn give_back(&self, subject: &Arc<str>, bytes: usize) {
        let mut all = self.taken();
        if let Some(taken) = all.get_mut(subject) {
            *taken = taken.saturating_sub(bytes);
            if *taken == 0 {
                all.remove(subject);
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryPermit {
    /// As a part of this subject's share; nothing is taken yet.
    pub fn of(mut self, subject: &str) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Another one of the same share, for what is given back earlier.
    pub fn beside(&self) -> Self {
        let (all, shares) = (Arc::clone(&self.all), Arc::clone(&self.shares));
        Self { all, held: None, shares, subject: self.subject.clone() }
    }

    /// Makes it so many bytes, where it is less.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.saturating_sub(self.bytes());
        if missing == 0 {
            return Ok(());
        }
        if let Some(subject) = &self.subject
            && !self.shares.take(subject, missing)
        {
            return Err(overloaded("too many requests of this subject are being read; try again later"));
        }
        let permits = u32::try_from(missing).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.all).try_acquire_many_owned(permits) else {
            if let Some(subject) = &self.subject {
                self.shares.give_back(subject, missing);
            }
            return Err(overloaded("too many requests are being read; try again later"));
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        if let (Some(subject), bytes @ 1..) = (&self.subject, self.bytes()) {
            self.shares.give_back(subject, bytes);
        }
    }
}

fn overloaded(detail: &'static str) -> Problem {
    metrics::counter!("overloaded_total").increment(1);
    Problem::new(Code::OVERLOADED, detail)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(length: &'static str) -> HeaderMap {
        [(header::CONTENT_LENGTH, HeaderValue::from_static(length))].into_iter().collect()
    }

    #[test]
    fn what_is_known_to_find_no_room_is_not_begun() {
        let in_flight = InFlight::new(100);
        let mut held = in_flight.room(&HeaderMap::new(), 80).unwrap();
        held.cover(50).unwrap();
        assert_eq!(in_flight.room(&headers("51"), 80).unwrap_err().code, Code::OVERLOADED);
        for fits in ["50", "0", "x", "-1"] {
            in_flight.room(&headers(fits), 80).unwrap();
        }
        in_flight.room(&headers("99999999999999999999"), 50).unwrap();
        assert!(in_flight.room(&headers("1000"), 51).is_err());
        assert_eq!(in_flight.room(&headers("1000"), 50).unwrap().cover(51).unwrap_err().code, Code::OVERLOADED);
    }

    /// Any steps, beside what they come to when they are simply added up.
    #[test]
    fn the_shares_are_what_their_bodies_hold() {
        use std::hash::{BuildHasher as _, RandomState};
        const ALL: usize = 68 * 1024 * 1024;
        const MOST: usize = ALL / SHARE;
        let seed = RandomState::new().hash_one(0);
        println!("seed {seed}");
        assert_eq!(InFlight::new(MOST).shares.most, LARGEST_BODY, "the largest body finds room");
        let in_flight = InFlight::new(ALL);
        let mut bodies: Vec<(&str, usize, MemoryPermit)> = Vec::new();
        let mut state = seed;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % limit
        };
        for _ in 0..20_000 {
            let subject = ["a", "b", "c", "d", "e", "f"][below(6)];
            match below(3) {
                0 => bodies.push((subject, 0, in_flight.empty().of(subject))),
                1 if !bodies.is_empty() => drop(bodies.swap_remove(below(bodies.len()))),
                _ if !bodies.is_empty() => {
                    let place = below(bodies.len());
                    let bytes = below(7 * 1024 * 1024);
                    let held = |of: Option<&str>| {
                        bodies
                            .iter()
                            .filter(|(owner, ..)| of.is_none_or(|of| of == *owner))
                            .map(|body| body.1)
                            .sum::<usize>()
                    };
                    let (owner, before) = (bodies[place].0, bodies[place].1);
                    let more = bytes.saturating_sub(before);
                    let fits = more == 0 || (held(Some(owner)) + more <= MOST && held(None) + more <= ALL);
                    assert_eq!(bodies[place].2.cover(bytes).is_ok(), fits, "{owner}: {more} more");
                    bodies[place].1 += if fits { more } else { 0 };
                }
                _ => {}
            }
            let all: usize = bodies.iter().map(|body| body.1).sum();
            assert_eq!(in_flight.left(), ALL - all);
            let taken = in_flight.shares.taken();
            for (subject, bytes) in taken.iter() {
                let held: usize = bodies.iter().filter(|body| *body.0 == **subject).map(|body| body.1).sum();
                assert_eq!((*bytes, *bytes > 0), (held, true), "{subject}");
            }
            assert_eq!(taken.values().sum::<usize>(), all);
        }
    }
}
