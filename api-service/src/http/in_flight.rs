//! Bounds how many bytes of bodies are in memory at once.
//!
//! Bytes count when they are received or decompressed: an announced length reserves nothing. Each subject has a share,
//! so that the bodies of one token, however slowly they arrive, do not keep those of all others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, header};

use super::problem::{Code, Problem};

/// The share of one subject is the budget divided by this, but at least [`LARGEST_BODY`].
const SHARE: usize = 4;
/// The most memory that one body needs: a batch decompressed with the largest window, and its buffers.
pub(crate) const LARGEST_BODY: usize = 17 * 1024 * 1024;

/// A budget of bytes. Clones share it.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    all: usize,
    of_one_subject: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    subjects: HashMap<Arc<str>, usize>,
}

/// The memory of one body, released when this is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    budget: InFlight,
    bytes: usize,
    /// The subject charged; `None` if unknown.
    subject: Option<Arc<str>>,
}

impl InFlight {
    pub fn new(bytes: usize) -> Self {
        let of_one_subject = (bytes / SHARE).max(LARGEST_BODY);
        Self(Arc::new(Budget { all: bytes, of_one_subject, taken: Mutex::default() }))
    }

    /// A permit for a body of up to `limit` bytes; an error if its `Content-Length` exceeds the free memory. The permit
    /// has no bytes yet.
    pub fn room(&self, headers: &HeaderMap, limit: usize) -> Result<MemoryPermit, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if self.left() < told.unwrap_or(0).min(limit) {
            return Err(overloaded("too many requests are being read; try again later"));
        }
        Ok(self.empty())
    }

    /// A permit without bytes.
    pub fn empty(&self) -> MemoryPermit {
        MemoryPermit { budget: self.clone(), bytes: 0, subject: None }
    }

    pub fn left(&self) -> usize {
        self.0.all - self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryPermit {
    /// Charges the share of this subject. To be called while the permit has no bytes.
    pub fn of(mut self, subject: &str) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// A second permit of the same subject, for memory that is released earlier.
    pub fn beside(&self) -> Self {
        Self { budget: self.budget.clone(), bytes: 0, subject: self.subject.clone() }
    }

    /// Raises the permit to `bytes`, if it has less.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing == 0 {
            return Ok(());
        }
        let Budget { all, of_one_subject, .. } = *self.budget.0;
        let mut taken = self.budget.taken();
        let of_subject = self.subject.as_ref().and_then(|subject| taken.subjects.get(subject)).copied();
        if self.subject.is_some() && of_subject.unwrap_or_default().saturating_add(missing) > of_one_subject {
            return Err(overloaded("too many requests of this subject are being read; try again later"));
        }
        if taken.all.saturating_add(missing) > all {
            return Err(overloaded("too many requests are being read; try again later"));
        }
        if let Some(subject) = &self.subject {
            *taken.subjects.entry(Arc::clone(subject)).or_default() += missing;
        }
        taken.all += missing;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.budget.taken();
        taken.all = taken.all.saturating_sub(self.bytes);
        if let Some(subject) = &self.subject
            && let Some(of_subject) = taken.subjects.get_mut(subject)
        {
            *of_subject = of_subject.saturating_sub(self.bytes);
            if *of_subject == 0 {
                taken.subjects.remove(subject);
            }
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

    /// Random operations, compared with plain sums.
    #[test]
    fn the_shares_are_what_their_bodies_hold() {
        use std::hash::{BuildHasher as _, RandomState};
        const ALL: usize = 68 * 1024 * 1024;
        const MOST: usize = ALL / SHARE;
        let seed = RandomState::new().hash_one(0);
        println!("seed {seed}");
        assert_eq!(InFlight::new(MOST).0.of_one_subject, LARGEST_BODY, "the largest body finds room");
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
            let taken = in_flight.taken();
            for (subject, bytes) in &taken.subjects {
                let held: usize = bodies.iter().filter(|body| *body.0 == **subject).map(|body| body.1).sum();
                assert_eq!((*bytes, *bytes > 0), (held, true), "{subject}");
            }
            assert_eq!(taken.subjects.values().sum::<usize>(), all);
        }
    }
}
