//! How many queries for repeats are allowed: a campaign that takes no more may get any number of events.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const A_SECOND: Duration = Duration::from_secs(1);

pub(super) struct Lookups {
    /// The most in a second.
    most: u32,
    second: Mutex<(Instant, u32)>,
}

impl Lookups {
    pub(super) fn new(most: u32, now: Instant) -> Self {
        Self { most, second: Mutex::new((now, 0)) }
    }

    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = &mut *second;
        if now.saturating_duration_since(*began) >= A_SECOND {
            (*began, *count) = (now, 0);
        }
        *count += 1;
        *count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second() {
        let start = Instant::now();
        let lookups = Lookups::new(100, start);
        let allowed = |millis| (0..150).filter(|_| lookups.allows(start + Duration::from_millis(millis))).count();
        assert_eq!([allowed(0), allowed(999), allowed(1_000), allowed(1_500), allowed(2_000)], [100, 0, 100, 0, 100]);
    }
}
