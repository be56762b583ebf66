//! How many bytes of bodies may be in memory at once.
//!
//! They are counted as they come, and as they unpack: who promises a large body and sends none
//! takes nobody's room.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Code, Problem};

/// The bytes of this instance.
pub struct InFlight(Arc<Semaphore>);

/// What one body takes up, until it is dropped.
#[derive(Debug)]
pub struct Room {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a body of up to `limit` bytes that is about to be read, where there is enough for
    /// its `Content-Length`. None is taken yet.
    ///
    /// # Errors
    /// 503 at once: who waits holds a connection, and there would be more of them.
    pub fn room(&self, headers: &HeaderMap, limit: usize) -> Result<Room, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if self.left() < told.unwrap_or(0).min(limit) {
            return Err(overloaded());
        }
        Ok(self.empty())
    }

    /// Room that takes nothing up yet.
    pub fn empty(&self) -> Room {
        Room { all: Arc::clone(&self.0), held: None }
    }

    /// How many bytes there is room for.
    pub fn left(&self) -> usize {
        self.0.available_permits()
    }
}

impl Room {
    /// Makes it so many bytes, where it is less.
    ///
    /// # Errors
    /// As [`room`](InFlight::room).
    pub fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.saturating_sub(self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let permits = u32::try_from(missing).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.all).try_acquire_many_owned(permits).map_err(|_| overloaded())?;
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

fn overloaded() -> Problem {
    metrics::counter!("overloaded_total").increment(1);
    Problem::new(Code::Overloaded, "too many requests are being read; try again later")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(length: &'static str) -> HeaderMap {
        [(header::CONTENT_LENGTH, HeaderValue::from_static(length))].into_iter().collect()
    }

    #[test]
    fn what_is_there_counts_and_what_is_promised_does_not() {
        let in_flight = InFlight::new(100);
        let mut one = in_flight.room(&headers("60"), 80).unwrap();
        let mut other = in_flight.room(&headers("60"), 80).unwrap();
        assert_eq!(in_flight.left(), 100, "nothing has come yet");
        one.cover(60).unwrap();
        one.cover(50).unwrap();
        assert_eq!(in_flight.left(), 40);
        assert_eq!(other.cover(41).unwrap_err().code, Code::Overloaded);
        other.cover(10).unwrap();
        other.cover(40).unwrap();
        assert_eq!(in_flight.left(), 0);
        drop(one);
        assert_eq!(in_flight.left(), 60);
    }

    #[test]
    fn what_is_known_to_find_no_room_is_not_begun() {
        let in_flight = InFlight::new(100);
        let mut held = in_flight.room(&HeaderMap::new(), 80).unwrap();
        held.cover(50).unwrap();
        assert_eq!(in_flight.room(&headers("51"), 80).unwrap_err().code, Code::Overloaded);
        for fits in ["50", "0", "x", "-1"] {
            in_flight.room(&headers(fits), 80).unwrap();
        }
        in_flight.room(&headers("99999999999999999999"), 50).unwrap();
        assert!(in_flight.room(&headers("1000"), 51).is_err());
        assert_eq!(in_flight.room(&headers("1000"), 50).unwrap().cover(51).unwrap_err().code, Code::Overloaded);
    }
}
