//! Names of keys that tokens ask for and that are not published. Pure: no clock of its own.
//!
//! Anyone can make names up, so they are a reason to read the published keys at most once in half a
//! minute, and in between nobody can say whether a new one was published a moment ago. A name is
//! refused once a reading does not have it that began after it came. Kept are hashes, so many and
//! no more: of a name that finds no place nothing is known, which never makes it a wrong one.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How often an unknown key may be a reason to look again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The most names of each kind, about.
const MOST: usize = 1024;

/// What is known of unknown names.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    hasher: RandomState,
    /// They came since the last reading began.
    came: HashSet<u64>,
    /// They came before that: it is under way, or has failed.
    asked: HashSet<u64>,
    /// A good reading that began after they came did not have them.
    refused: HashSet<u64>,
    /// A reading is under way.
    pub(super) reading: bool,
    /// When such a name is next a reason to read; at once, where there is no time.
    look: Option<Instant>,
    /// When the keys are read next whoever comes.
    pub(super) regular: Option<Instant>,
}

impl Unknown {
    fn hash(&self, kid: Option<&str>) -> u64 {
        self.hasher.hash_one(kid)
    }

    /// A token names this key.
    pub(super) fn come(&mut self, kid: Option<&str>) {
        if self.came.len() < MOST {
            let hash = self.hash(kid);
            self.came.insert(hash);
        }
    }

    /// This key was published, and is no more.
    pub(super) fn withdrawn(&mut self, kid: Option<&str>) {
        let hash = self.hash(kid);
        self.refused.insert(hash);
    }

    /// Whether a reading that began after it came did not have it.
    pub(super) fn is_refused(&self, kid: Option<&str>) -> bool {
        self.refused.contains(&self.hash(kid))
    }

    /// Whether an unknown name is a reason to read at this time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.look.is_none_or(|look| look <= now)
    }

    /// When the keys have to be read for what came.
    pub(super) fn wanted(&self, now: Instant) -> Option<Instant> {
        (!self.came.is_empty()).then(|| self.look.unwrap_or(now))
    }

    /// In how many seconds the next reading begins.
    pub(super) fn later(&self, now: Instant) -> u32 {
        let next = self.look.into_iter().chain(self.regular).min().unwrap_or(now);
        u32::try_from(next.saturating_duration_since(now).as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }

    /// A reading begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.reading = true;
        if !self.came.is_empty() && self.is_due(now) {
            self.look = Some(now + LOOK_AGAIN);
        }
        let came = std::mem::take(&mut self.came);
        if self.asked.len() < MOST {
            self.asked.extend(came);
        }
    }

    /// It has ended. A good one refuses whatever was asked for and is not among these.
    pub(super) fn end<'a>(&mut self, good: bool, published: impl Iterator<Item = Option<&'a str>>) {
        self.reading = false;
        if good {
            for kid in published {
                let hash = self.hash(kid);
                // It may have come while the keys were read.
                for names in [&mut self.came, &mut self.asked, &mut self.refused] {
                    names.remove(&hash);
                }
            }
            if self.refused.len() > MOST {
                self.refused.clear();
            }
            self.refused.extend(self.asked.drain());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(unknown: &mut Unknown, now: Instant, good: bool) {
        unknown.begin(now);
        unknown.end(good, std::iter::empty());
    }

    #[test]
    fn one_look_in_half_a_minute_and_nobody_is_refused_without_one_of_their_own() {
        let start = Instant::now();
        let mut unknown = Unknown::default();
        assert_eq!(unknown.wanted(start), None, "nobody came");
        unknown.come(Some("made up"));
        assert_eq!(unknown.wanted(start), Some(start));
        read(&mut unknown, start, true);
        assert!(unknown.is_refused(Some("made up")));

        let now = start + SECOND;
        assert!(!unknown.is_due(now));
        assert_eq!(unknown.wanted(now), None);
        unknown.come(Some("new"));
        assert!(!unknown.is_refused(Some("new")) && !unknown.is_refused(None));
        assert_eq!((unknown.wanted(now), unknown.later(now)), (Some(start + LOOK_AGAIN), 29));
        unknown.regular = Some(now + 7 * SECOND);
        assert_eq!(unknown.later(now), 7);

        // It comes while another reading is under way: that says nothing of it.
        unknown.begin(now);
        unknown.come(Some("newer"));
        unknown.come(Some("published"));
        unknown.end(true, [None, Some("published")].into_iter());
        assert!(unknown.is_refused(Some("new")) && !unknown.is_refused(Some("newer")));
        assert_eq!(unknown.wanted(now), Some(start + LOOK_AGAIN), "what was not due does not count");
        read(&mut unknown, start + LOOK_AGAIN, false);
        assert!(!unknown.is_refused(Some("newer")), "it failed");
        assert!(!unknown.is_due(start + LOOK_AGAIN + SECOND));
        read(&mut unknown, start + LOOK_AGAIN + SECOND, true);
        assert!(unknown.is_refused(Some("newer")) && !unknown.is_refused(Some("published")));
        assert_eq!(unknown.wanted(start + LOOK_AGAIN), None, "nobody waits for what is published");
    }

    #[test]
    fn any_number_of_names_takes_little_room_and_refuses_nobody_who_was_not_asked_for() {
        let mut now = Instant::now();
        let mut unknown = Unknown::default();
        for round in 0..20 {
            for name in 0..2 * MOST {
                unknown.come(Some(&format!("{round}-{name}")));
            }
            unknown.come(Some("last"));
            read(&mut unknown, now, round % 3 == 0);
            now += SECOND;
            assert!(unknown.came.len() + unknown.asked.len() + unknown.refused.len() <= 5 * MOST);
            assert!(!unknown.is_refused(Some("last")));
        }
        for _ in 0..2 {
            unknown.come(Some("last"));
            read(&mut unknown, now, true);
        }
        assert!(unknown.is_refused(Some("last")), "once there are fewer");
    }
}
