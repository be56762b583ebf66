//! Bounds how many bytes of bodies are in memory at once.
//!
//! Bytes count when they are received or decompressed: an announced length reserves nothing. Each subject has a share,
//! so that the bodies of one token, however slowly they arrive, do not keep those of all others out. Slow bodies of all
//! subjects have a share too, and are limited in number, so that they do not keep the others out. A part of that share is
//! for small bodies: a few stalled batches must not keep the single event of a modem out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, header};
use metrics::gauge;

use super::problem::{Code, Problem};

/// The share of one subject is the budget divided by this, but at least [`LARGEST_BODY`].
const SHARE: usize = 4;
/// The share of all slow bodies is the budget divided by this, but at least [`LARGEST_BODY`].
const SLOW_SHARE: usize = 2;
/// Of the share of all slow bodies, what is divided by this is for small bodies only.
const RESERVE: usize = 4;
/// The most memory of a small body: a single event, and what decompressing it needs.
const SMALL_BODY: usize = 1024 * 1024;
/// The most memory that one body needs: a batch decompressed with the largest window, and its buffers.
pub(crate) const LARGEST_BODY: usize = 17 * 1024 * 1024;
/// The `Retry-After` of a body that finds no place among the slow ones, in seconds.
const SLOW_RETRY: u32 = 5;
const SLOW: &str = "too many bodies arrive slowly; try again later";
const SLOW_OF_SUBJECT: &str = "too many bodies of this subject arrive slowly; try again later";
/// The gauge of slow bodies.
pub(crate) const SLOW_BODIES: &str = "http_slow_bodies";

/// A budget of bytes. Clones share it.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    all: usize,
    of_one_subject: usize,
    of_slow: usize,
    /// The maximum number of slow bodies; of one subject at most its share of them.
    slow_bodies: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_slow: usize,
    slow_bodies: usize,
    subjects: HashMap<Arc<str>, OfSubject>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct OfSubject {
    bytes: usize,
    slow_bodies: usize,
    slow_bytes: usize,
}

/// The memory of one body, released when this is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    budget: InFlight,
    bytes: usize,
    /// The subject charged; `None` if unknown.
    subject: Option<Arc<str>>,
    is_slow: bool,
}

impl InFlight {
    /// A budget for what never counts as slow.
    pub fn new(bytes: usize) -> Self {
        Self::of_bodies(bytes, 0)
    }

    /// A budget for bodies, of which this many may be slow at once.
    pub fn of_bodies(bytes: usize, slow_bodies: usize) -> Self {
        let of_one_subject = (bytes / SHARE).max(LARGEST_BODY);
        let of_slow = (bytes / SLOW_SHARE).max(LARGEST_BODY);
        Self(Arc::new(Budget { all: bytes, of_one_subject, of_slow, slow_bodies, taken: Mutex::default() }))
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
        MemoryPermit { budget: self.clone(), bytes: 0, subject: None, is_slow: false }
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

    /// Raises the permit to `bytes`, if it has less.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing == 0 {
            return Ok(());
        }
        let Budget { all, of_one_subject, .. } = *self.budget.0;
        let mut taken = self.budget.taken();
        let of_subject = taken.of(self.subject.as_ref()).map(|of| of.bytes);
        if self.subject.is_some() && of_subject.unwrap_or_default().saturating_add(missing) > of_one_subject {
            return Err(overloaded("too many requests of this subject are being read; try again later"));
        }
        if taken.all.saturating_add(missing) > all {
            return Err(overloaded("too many requests are being read; try again later"));
        }
        if self.is_slow {
            self.check_slow(&taken, bytes, missing)?;
            taken.of_slow += missing;
        }
        if let Some(subject) = &self.subject {
            let of = taken.subjects.entry(Arc::clone(subject)).or_default();
            of.bytes += missing;
            of.slow_bytes += if self.is_slow { missing } else { 0 };
        }
        taken.all += missing;
        self.bytes = bytes;
        Ok(())
    }

    /// Reduces the permit to `bytes`, if it has more.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        if surplus == 0 {
            return;
        }
        self.bytes = bytes;
        let mut taken = self.budget.taken();
        taken.all = taken.all.saturating_sub(surplus);
        let slow_bytes = if self.is_slow { surplus } else { 0 };
        taken.of_slow = taken.of_slow.saturating_sub(slow_bytes);
        taken.release(self.subject.as_ref(), &OfSubject { bytes: surplus, slow_bodies: 0, slow_bytes });
    }

    /// Counts the body as slow until [`arrived`](Self::arrived); an error if it finds no place among the slow ones.
    pub fn slow(&mut self) -> Result<(), Problem> {
        if self.is_slow {
            return Ok(());
        }
        let slow_bodies = self.budget.0.slow_bodies;
        let mut taken = self.budget.taken();
        if taken.of(self.subject.as_ref()).is_some_and(|of| of.slow_bodies >= (slow_bodies / SHARE).max(1)) {
            return Err(too_many_slow(SLOW_OF_SUBJECT));
        }
        if taken.slow_bodies >= slow_bodies {
            return Err(too_many_slow(SLOW));
        }
        self.check_slow(&taken, self.bytes, self.bytes)?;
        taken.slow_bodies += 1;
        taken.of_slow += self.bytes;
        if let Some(subject) = &self.subject {
            let of = taken.subjects.entry(Arc::clone(subject)).or_default();
            of.slow_bodies += 1;
            of.slow_bytes += self.bytes;
        }
        self.is_slow = true;
        gauge!(SLOW_BODIES).increment(1);
        Ok(())
    }

    /// An error if the slow bodies have no room for `more` bytes, with which this one has `bytes`. One subject has its
    /// share of them, or a single body, which may be as large as any.
    fn check_slow(&self, taken: &Taken, bytes: usize, more: usize) -> Result<(), Problem> {
        let of_slow = self.budget.0.of_slow;
        if let Some(of) = taken.of(self.subject.as_ref()) {
            let others = of.slow_bodies.saturating_sub(usize::from(self.is_slow));
            if others > 0 && of.slow_bytes.saturating_add(more) > of_slow / SHARE {
                return Err(too_many_slow(SLOW_OF_SUBJECT));
            }
        }
        let most = if bytes <= SMALL_BODY { of_slow } else { (of_slow - of_slow / RESERVE).max(LARGEST_BODY) };
        if taken.of_slow.saturating_add(more) > most { Err(too_many_slow(SLOW)) } else { Ok(()) }
    }

    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Gives the place among the slow bodies back: the body is complete.
    pub fn arrived(&mut self) {
        if !std::mem::take(&mut self.is_slow) {
            return;
        }
        gauge!(SLOW_BODIES).decrement(1);
        let mut taken = self.budget.taken();
        taken.slow_bodies = taken.slow_bodies.saturating_sub(1);
        taken.of_slow = taken.of_slow.saturating_sub(self.bytes);
        taken.release(self.subject.as_ref(), &OfSubject { bytes: 0, slow_bodies: 1, slow_bytes: self.bytes });
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.arrived();
        self.shrink(0);
    }
}

impl Taken {
    fn of(&self, subject: Option<&Arc<str>>) -> Option<&OfSubject> {
        self.subjects.get(subject?)
    }

    /// Takes this from the subject, which is forgotten when it has nothing left.
    fn release(&mut self, subject: Option<&Arc<str>>, part: &OfSubject) {
        if let Some(subject) = subject
            && let Some(of) = self.subjects.get_mut(subject)
        {
            of.bytes = of.bytes.saturating_sub(part.bytes);
            of.slow_bodies = of.slow_bodies.saturating_sub(part.slow_bodies);
            of.slow_bytes = of.slow_bytes.saturating_sub(part.slow_bytes);
            if *of == OfSubject::default() {
                self.subjects.remove(subject);
            }
        }
    }
}

fn too_many_slow(detail: &'static str) -> Problem {
    overloaded(detail).retry_after(SLOW_RETRY)
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
        const SLOW_BODIES: usize = 8;
        struct Held {
            owner: &'static str,
            bytes: usize,
            is_slow: bool,
            permit: MemoryPermit,
        }
        let seed = RandomState::new().hash_one(0);
        println!("seed {seed}");
        assert_eq!(InFlight::new(MOST).0.of_one_subject, LARGEST_BODY, "the largest body finds room");
        assert_eq!(InFlight::new(MOST).0.of_slow, LARGEST_BODY, "a slow one, too");
        let in_flight = InFlight::of_bodies(ALL, SLOW_BODIES);
        let mut bodies: Vec<Held> = Vec::new();
        let mut state = seed;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % limit
        };
        for _ in 0..20_000 {
            let owner = ["a", "b", "c", "d", "e", "f"][below(6)];
            let what = below(6);
            if what == 0 {
                bodies.push(Held { owner, bytes: 0, is_slow: false, permit: in_flight.empty().of(owner) });
            } else if !bodies.is_empty() {
                let place = below(bodies.len());
                let sum = |of: &dyn Fn(&Held) -> bool| {
                    bodies.iter().filter(|body| of(body)).map(|body| body.bytes).sum::<usize>()
                };
                let Held { owner, bytes, is_slow, .. } = bodies[place];
                let ours = sum(&|body| body.owner == owner);
                let (all, slow) = (sum(&|_| true), sum(&|body| body.is_slow));
                let our_slow = sum(&|body| body.is_slow && body.owner == owner);
                let slow_ones = |of: Option<&str>| {
                    bodies.iter().filter(|body| body.is_slow && of.is_none_or(|of| of == body.owner)).count()
                };
                let has_place = slow_ones(None) < SLOW_BODIES && slow_ones(Some(owner)) < SLOW_BODIES / SHARE;
                let others = slow_ones(Some(owner)) - usize::from(is_slow);
                let has_room = |bytes: usize, more: usize| {
                    let most = ALL / SLOW_SHARE / RESERVE * if bytes <= SMALL_BODY { RESERVE } else { RESERVE - 1 };
                    slow + more <= most && (others == 0 || our_slow + more <= ALL / SLOW_SHARE / SHARE)
                };
                let body = &mut bodies[place];
                match what {
                    1 => drop(bodies.swap_remove(place)),
                    2 => {
                        let fits = is_slow || (has_place && has_room(bytes, bytes));
                        assert_eq!(body.permit.slow().is_ok(), fits, "{owner}: slow with {bytes}");
                        body.is_slow = fits;
                    }
                    3 => {
                        body.permit.arrived();
                        body.is_slow = false;
                    }
                    4 => {
                        let less = below(bytes + 1);
                        body.permit.shrink(less);
                        body.bytes = less;
                    }
                    _ => {
                        let wanted = below(7 * 1024 * 1024);
                        let more = wanted.saturating_sub(bytes);
                        let fits = more == 0
                            || (ours + more <= MOST && all + more <= ALL && (!is_slow || has_room(wanted, more)));
                        assert_eq!(body.permit.cover(wanted).is_ok(), fits, "{owner}: {more} more");
                        body.bytes += if fits { more } else { 0 };
                    }
                }
            }
            let all: usize = bodies.iter().map(|body| body.bytes).sum();
            assert_eq!(in_flight.left(), ALL - all);
            let taken = in_flight.taken();
            let of_slow = || bodies.iter().filter(|body| body.is_slow);
            assert_eq!((taken.slow_bodies, taken.of_slow), (of_slow().count(), of_slow().map(|body| body.bytes).sum()));
            for (subject, of) in &taken.subjects {
                let held: usize = bodies.iter().filter(|body| *body.owner == **subject).map(|body| body.bytes).sum();
                let slow = || of_slow().filter(|body| *body.owner == **subject);
                let (slow_bodies, slow_bytes) = (slow().count(), slow().map(|body| body.bytes).sum());
                assert_eq!(*of, OfSubject { bytes: held, slow_bodies, slow_bytes }, "{subject}");
                assert_ne!(*of, OfSubject::default(), "{subject} has nothing");
            }
            assert_eq!(taken.subjects.values().map(|of| of.bytes).sum::<usize>(), all);
        }
    }

    fn slow(in_flight: &InFlight, subject: &str, bytes: usize) -> Result<MemoryPermit, Problem> {
        let mut permit = in_flight.empty().of(subject);
        permit.cover(bytes)?;
        permit.slow()?;
        Ok(permit)
    }

    #[test]
    fn slow_bodies_leave_the_others_their_memory() {
        let in_flight = InFlight::of_bodies(4 * LARGEST_BODY, 100);
        let small = |subject: &str| slow(&in_flight, subject, SMALL_BODY);
        // Half of the memory is 34 MiB; large bodies end at 25.
        let mut held =
            vec![slow(&in_flight, "a", LARGEST_BODY).unwrap(), slow(&in_flight, "b", LARGEST_BODY / 2).unwrap()];
        assert_eq!(slow(&in_flight, "c", SMALL_BODY + 1).unwrap_err().code, Code::OVERLOADED);
        held.extend(
            ["c", "d"].into_iter().flat_map(|subject| (0..4).map(move |_| subject)).map(|of| small(of).unwrap()),
        );
        assert_eq!(small("e").unwrap_err().code, Code::OVERLOADED);
        let mut late = slow(&in_flight, "e", 0).unwrap();
        assert_eq!(late.cover(SMALL_BODY).unwrap_err().code, Code::OVERLOADED);
        let mut quick = in_flight.empty().of("f");
        quick.cover(LARGEST_BODY).unwrap();
        held.pop();
        late.cover(SMALL_BODY).unwrap();
    }

    /// Two senders with two stalled batches each had all of the memory.
    #[test]
    fn a_few_stalled_batches_shut_out_no_single_events() {
        const BATCH: usize = 8 * 1024 * 1024;
        let in_flight = InFlight::of_bodies(64 * 1024 * 1024, 100);
        let batch = |subject: &str| slow(&in_flight, subject, BATCH);
        let stalled: Vec<_> = ["a", "b", "c"].into_iter().map(|subject| batch(subject).unwrap()).collect();
        for subject in ["a", "b", "c"] {
            assert_eq!(batch(subject).unwrap_err().code, Code::OVERLOADED, "{subject}: one batch is its share");
            assert_eq!(slow(&in_flight, subject, 20_000).unwrap_err().code, Code::OVERLOADED, "{subject}");
        }
        let events: Vec<_> = (0..80).map_while(|n| slow(&in_flight, &format!("modem-{n}"), 100_000).ok()).collect();
        assert_eq!(events.len(), 80);
        // One subject has a quarter of it in small bodies, too.
        drop((stalled, events));
        let of_one: Vec<_> = (0..100).map_while(|_| slow(&in_flight, "a", SMALL_BODY).ok()).collect();
        assert_eq!(of_one.len(), 8);
    }
}
