//! How many bytes of bodies may be in memory at once.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Code, Problem};

/// The bytes of this instance.
pub struct InFlight(Arc<Semaphore>);

/// Room for one body, until it is dropped.
#[derive(Debug)]
pub struct Room {
    _held: OwnedSemaphorePermit,
}

impl InFlight {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a body before it is read: for its `Content-Length`, or for `limit` where that is
    /// not known, or is not what it unpacks to.
    ///
    /// # Errors
    /// 503 at once: who waits holds a connection, and there would be more of them.
    pub fn room(&self, headers: &HeaderMap, limit: usize) -> Result<Room, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let told = told.filter(|_| !headers.contains_key(header::CONTENT_ENCODING));
        self.room_for(told.map_or(limit, |told: usize| told.min(limit)))
    }

    /// Room for so many bytes.
    ///
    /// # Errors
    /// As [`room`](Self::room).
    pub fn room_for(&self, bytes: usize) -> Result<Room, Problem> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).try_acquire_many_owned(permits) {
            Ok(held) => Ok(Room { _held: held }),
            Err(_) => {
                metrics::counter!("overloaded_total").increment(1);
                Err(Problem::new(Code::Overloaded, "too many requests are being read; try again later"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(length: &'static str) -> HeaderMap {
        [(header::CONTENT_LENGTH, HeaderValue::from_static(length))].into_iter().collect()
    }

    #[test]
    fn room_for_what_is_told_and_for_the_limit_where_nothing_is() {
        let in_flight = InFlight::new(100);
        let told = in_flight.room(&headers("60"), 80).unwrap();
        assert_eq!(in_flight.room(&HeaderMap::new(), 80).unwrap_err().code, Code::Overloaded);
        assert_eq!(in_flight.room(&headers("x"), 80).unwrap_err().code, Code::Overloaded, "a lie counts as none");
        let rest = in_flight.room(&headers("99999999999999999999"), 40).unwrap();
        in_flight.room(&headers("0"), 80).unwrap();
        assert!(in_flight.room(&headers("1"), 80).is_err());
        drop((told, rest));
        in_flight.room(&headers("1000"), 80).unwrap();
    }
}
