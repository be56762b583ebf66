//! When the JWKS is fetched, and whether a fetch proves that a key is not published. Pure: no clock of its own.
//!
//! Anyone can invent `kid`s, so they cause a fetch at most once in half a minute; until then it is unknown whether a
//! new one was published a moment ago. A key is rejected once a fetch that started after its first use does not list
//! it.

use std::time::Duration;

use tokio::time::Instant;

/// How often an unknown key may cause a fetch.
const BETWEEN_LOOKUPS: Duration = Duration::from_secs(30);

/// The state of past fetches, and the time of the next one.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// How many fetches have ended.
    pub(super) ended: u64,
    /// Why the last one failed.
    pub(super) error: Option<String>,
    /// When the last successful one started.
    pub(super) fetched: Option<Instant>,
    /// When the one under way started.
    pub(super) under_way: Option<Instant>,
    /// An unknown key waits for a fetch.
    pub(super) wanted: bool,
    /// Unknown keys cause no fetch before this time.
    pub(super) not_before: Option<Instant>,
    /// When the next regular one starts.
    pub(super) regular: Option<Instant>,
}

impl Schedule {
    pub(super) fn is_up(&self) -> bool {
        self.fetched.is_some() && self.error.is_none()
    }

    /// Whether a key that was first used at this time, and is not in the fetched set, is not published.
    pub(super) fn rules_out(&self, first_use: Instant) -> bool {
        self.fetched.is_some_and(|start| first_use <= start)
    }

    /// Whether an unknown key may cause a fetch.
    pub(super) fn may_look(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|earliest| earliest <= now)
    }

    /// When a fetch for an unknown key is due.
    pub(super) fn wanted_at(&self, now: Instant) -> Option<Instant> {
        self.wanted.then(|| self.not_before.unwrap_or(now))
    }

    /// In how many seconds the next fetch starts.
    pub(super) fn retry_after(&self, now: Instant) -> u32 {
        let next = self.not_before.into_iter().chain(self.regular).min().unwrap_or(now);
        u32::try_from(next.saturating_duration_since(now).as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }

    pub(super) fn start(&mut self, now: Instant) {
        if std::mem::take(&mut self.wanted) && self.may_look(now) {
            self.not_before = Some(now + BETWEEN_LOOKUPS);
        }
        self.under_way = Some(now);
    }

    pub(super) fn end(&mut self, error: Option<String>) {
        let started = self.under_way.take();
        if error.is_none() {
            self.fetched = started;
        }
        self.error = error;
        self.ended += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fetch(schedule: &mut Schedule, now: Instant, error: Option<&str>) {
        schedule.start(now);
        schedule.end(error.map(Into::into));
    }

    #[test]
    fn one_lookup_in_half_a_minute_and_no_key_is_ruled_out_by_a_fetch_that_is_older_than_its_use() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.wanted_at(start), None, "nobody asked");
        assert!(!schedule.is_up() && !schedule.rules_out(start));
        schedule.wanted = true;
        assert_eq!(schedule.wanted_at(start), Some(start));
        fetch(&mut schedule, start, None);
        assert!(schedule.is_up() && schedule.rules_out(start));

        let now = start + SECOND;
        assert!(!schedule.may_look(now) && !schedule.rules_out(now));
        assert_eq!(schedule.wanted_at(now), None, "nobody asked since");
        schedule.wanted = true;
        assert_eq!((schedule.wanted_at(now), schedule.retry_after(now)), (Some(start + BETWEEN_LOOKUPS), 29));
        schedule.regular = Some(now + 7 * SECOND);
        assert_eq!(schedule.retry_after(now), 7);

        // A key is first used during a fetch: that fetch proves nothing about it.
        schedule.start(now);
        let during = now + SECOND;
        schedule.wanted = true;
        schedule.end(None);
        assert!(schedule.rules_out(now) && !schedule.rules_out(during));
        assert_eq!(schedule.wanted_at(now), Some(start + BETWEEN_LOOKUPS), "a regular fetch does not put it off");
        fetch(&mut schedule, start + BETWEEN_LOOKUPS, Some("away"));
        assert!(!schedule.is_up() && !schedule.rules_out(during), "it failed");
        assert!(!schedule.may_look(start + BETWEEN_LOOKUPS + SECOND));
        fetch(&mut schedule, start + BETWEEN_LOOKUPS + SECOND, None);
        assert!(schedule.is_up() && schedule.rules_out(during));
    }
}
