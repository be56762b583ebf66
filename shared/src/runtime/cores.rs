//! Threads that serve requests, each with a runtime of its own ("cores"), and what each of them has for itself.
//!
//! A request is served by one thread from its first byte to its last. So what its tasks wait for should be woken on that
//! thread, too: a wake-up from another thread costs a system call.

use std::cell::Cell;
use std::sync::OnceLock;

/// Places for cores; a machine with more of them shares places, which costs wake-ups and nothing else.
const PLACES: usize = 64;

thread_local! {
    /// The place of this thread; 0 for all that are no core.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread the core with this number, from 0 on.
pub fn enter(number: usize) {
    PLACE.set(1 + number % (PLACES - 1));
}

/// The place of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

impl Place {
    /// The place of this thread. All threads that are no core have the same one.
    pub fn here() -> Self {
        Self(PLACE.get())
    }
}

/// A value for each core, and one for all other threads together. Each is made on first use.
#[derive(Debug)]
pub struct PerCore<T>([OnceLock<T>; PLACES]);

impl<T> Default for PerCore<T> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; PLACES])
    }
}

impl<T> PerCore<T> {
    /// The value of this thread's place.
    pub fn here(&self, make: impl FnOnce() -> T) -> &T {
        let Self([elsewhere, ..]) = self;
        self.0.get(PLACE.get()).unwrap_or(elsewhere).get_or_init(make)
    }

    /// The value of a place, if it was made.
    pub fn at(&self, Place(place): Place) -> Option<&T> {
        self.0.get(place)?.get()
    }

    /// All values that were made.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_has_its_own_value_and_all_others_share_one() {
        let values = PerCore::default();
        let on = |core: Option<usize>| {
            std::thread::scope(|threads| {
                let thread = threads.spawn(|| {
                    if let Some(core) = core {
                        enter(core);
                    }
                    (*values.here(|| core), Place::here())
                });
                thread.join().unwrap()
            })
        };
        let places: Vec<_> = [None, Some(0), Some(1), Some(62)].map(on).into_iter().collect();
        for ((made, place), core) in places.iter().zip([None, Some(0), Some(1), Some(62)]) {
            assert_eq!((*made, values.at(*place)), (core, Some(&core)));
            assert_eq!(on(core), (core, *place), "made once");
        }
        assert_eq!(values.all().count(), 4);
        assert_eq!(on(Some(63)).0, Some(0), "more cores than places share them");
        assert_eq!(PerCore::<()>::default().at(Place::here()), None);
    }
}
