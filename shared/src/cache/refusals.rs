//! The refusals of a server, and when the log reports them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The interval at which the log repeats the same refusal. Commands that succeed in between do not reset it.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// For how long after the last refusal readiness reports it.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The most different refusals that are reported within that time: some contain the key.
const MOST: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The last refusal: when, and its text.
    last: Option<(Instant, Arc<str>)>,
    /// The reported refusals, and when.
    told: Vec<(Instant, Arc<str>)>,
}

impl Refusals {
    pub(super) fn add(&mut self, said: &str, now: Instant) {
        self.last = Some((now, said.into()));
    }

    /// Whether to log it. One missing permission must not hide another one; the script in which it occurred does not
    /// matter.
    pub(super) fn is_to_be_told(&mut self, said: &str, now: Instant) -> bool {
        let said = said.split(" script: ").next().unwrap_or(said).trim_end_matches([' ', '.', ',']);
        self.told.retain(|(at, _)| now.saturating_duration_since(*at) < TELL_AGAIN);
        let is_new = self.told.len() < MOST && self.told.iter().all(|(_, told)| **told != *said);
        if is_new {
            self.told.push((now, said.into()));
        }
        is_new
    }

    pub(super) fn last(&self) -> Option<&Arc<str>> {
        self.last.as_ref().map(|(_, why)| why)
    }

    /// The same, if it was recent.
    pub(super) fn recent(&self, now: Instant) -> Option<&Arc<str>> {
        self.last.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < REMEMBERED).map(|(_, why)| why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_words_are_told_once_a_minute_and_only_so_many() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        for (at, said, is_told) in [
            (0, "no set", true),
            (1, "no set", false),
            (2, "no eval", true),
            (59, "no set", false),
            (60, "no set", true),
        ] {
            assert_eq!(refusals.is_to_be_told(said, after(at)), is_told, "{at}: {said}");
        }
        let of_scripts = ["full script: 3a, on @user_script:1.", "full. script: 4b, on @user_script:2."];
        assert_eq!(of_scripts.map(|said| refusals.is_to_be_told(said, after(61))), [true, false]);
        let told = (0..100).filter(|n| refusals.is_to_be_told(&format!("moved {n}"), after(61))).count();
        assert_eq!(told, MOST - 3);
    }

    #[test]
    fn the_last_one_is_remembered_for_a_while() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        refusals.add("no set", now);
        assert_eq!(refusals.recent(now + Duration::from_secs(9)).map(|why| &**why), Some("no set"));
        assert_eq!(refusals.recent(now + REMEMBERED), None);
        assert_eq!(refusals.last().map(|why| &**why), Some("no set"));
    }
}
