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
/// A quarter of the memory for slow bodies is reserved for small ones.
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
mod tests;
