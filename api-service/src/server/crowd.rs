//! How many connections there may be, and who goes when one more comes: the one that has been idle
//! for longest (as nginx does), so that nobody shuts the others out by doing nothing. Where all are
//! busy the newcomer waits, and each of them has its deadlines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::seat::Seat;

/// How long one that was asked to leave may take before another is asked too.
const MANNERS: Duration = Duration::from_millis(20);

/// All connections.
pub(super) struct Crowd {
    room: Arc<Semaphore>,
    start: Instant,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Seat>>,
}

/// One connection's place among them, until it is dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    /// What it is doing.
    pub(super) seat: Arc<Seat>,
    _permit: OwnedSemaphorePermit,
}

impl Crowd {
    /// At most so many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { room, start: Instant::now(), seats: Mutex::default() })
    }

    /// A place for one more, as soon as there is one; none if nobody is let in any more.
    pub(super) async fn admit(self: &Arc<Self>) -> Option<Place> {
        let permit = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        let seat = Arc::new(Seat::new(self.start));
        let mut seats = self.seats();
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, Arc::clone(&seat));
        Some(Place { crowd: Arc::clone(self), number, seat, _permit: permit })
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        let mut acquire = std::pin::pin!(Arc::clone(&self.room).acquire_owned());
        loop {
            if let Some(seat) = self.longest_idle() {
                seat.ask_to_leave();
            }
            if let Ok(permit) = timeout(MANNERS, &mut acquire).await {
                return permit.ok();
            }
        }
    }

    fn longest_idle(&self) -> Option<Arc<Seat>> {
        let seats = self.seats();
        let idle = seats.taken.values().filter_map(|seat| Some((seat.idle_since()?, seat)));
        idle.min_by_key(|(since, _)| *since).map(|(_, seat)| Arc::clone(seat))
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.seats().taken.remove(&self.number);
    }
}
