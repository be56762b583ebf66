//! The incarnations of Redis that an instance met, and which of them may answer.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use shared::ads::queries::{Incarnation, server_and_term};
use shared::cache::MetIncarnation;

/// A server that evicts keys again and again gets no new incarnation more often than this.
const APART: Duration = Duration::from_secs(5);
/// The most incarnations that are remembered besides those that answer.
const MOST_AWAY: usize = 64;

/// The incarnations that this instance met.
#[derive(Default)]
pub(super) struct Met {
    pub(super) noted: HashMap<String, Noted>,
    pub(super) proven: HashSet<i64>,
    /// By server and term: when an incarnation was noted last.
    pub(super) noted_at: HashMap<String, Instant>,
    /// Whether Redis evicts keys if it has no memory. Once it does not, that stays: what it evicts later makes another
    /// incarnation of it.
    pub(super) evicts: Option<bool>,
}

pub(super) struct Noted {
    pub(super) incarnation: Incarnation,
    /// How many commands its server had processed then.
    pub(super) commands: u64,
    /// The server has had another incarnation since then, or its counters were reset. If the same id comes back, it is
    /// a new incarnation.
    pub(super) is_over: bool,
}

impl Met {
    /// Learns from what answers whether Redis evicts keys. True the first time.
    pub(super) fn learn_policy(&mut self, answering: &[MetIncarnation]) -> bool {
        if answering.is_empty() {
            return false;
        }
        let is_first = self.evicts.is_none();
        let evicts = answering.iter().any(MetIncarnation::evicts);
        self.evicts = Some(evicts && self.evicts != Some(false));
        is_first
    }

    /// Whether to note an incarnation, and the serial that it had before it was over. A known one is looked up at each
    /// poll, because another instance may have met a later one.
    pub(super) fn must_note(&mut self, one: &MetIncarnation, now: Instant) -> Option<Option<i64>> {
        if let Some(known) = self.noted.get_mut(&one.id) {
            known.is_over |= one.commands < known.commands;
            known.commands = one.commands;
            return Some(known.is_over.then_some(known.incarnation.serial));
        }
        let at = self.noted_at.get(server_and_term(&one.id));
        at.is_none_or(|at| now.saturating_duration_since(*at) >= APART).then_some(None)
    }

    /// Incarnations whose server has another one now are over. A server that does not answer may come back.
    pub(super) fn compare(&mut self, answering: &[MetIncarnation]) {
        let is_current = |id: &str| answering.iter().any(|one| one.id == id);
        let servers: HashSet<_> = answering.iter().map(|one| server_and_term(&one.id)).collect();
        for (id, noted) in &mut self.noted {
            noted.is_over |= !is_current(id) && servers.contains(server_and_term(id));
        }
        if self.noted.len() > answering.len() + MOST_AWAY {
            self.noted.retain(|id, _| is_current(id));
        }
        let noted = &self.noted;
        self.proven.retain(|serial| noted.values().any(|known| !known.is_over && known.incarnation.serial == *serial));
        self.noted_at.retain(|server_and_term, at| servers.contains(&**server_and_term) || at.elapsed() < APART);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(id: &str, commands: u64) -> MetIncarnation {
        MetIncarnation { id: id.to_owned(), policy: String::new(), commands }
    }

    fn noted(serial: i64) -> Noted {
        let incarnation = Incarnation { serial, seen_at: time::OffsetDateTime::UNIX_EPOCH, is_proven: true };
        Noted { incarnation, commands: 100, is_over: false }
    }

    #[test]
    fn one_whose_counters_began_anew_is_over_until_it_is_noted_again() {
        let (mut all, now) = (Met::default(), Instant::now());
        assert_eq!(all.must_note(&met("a:1:0:x", 100), now), Some(None));
        all.noted.insert("a:1:0:x".to_owned(), noted(3));
        assert_eq!(all.must_note(&met("a:1:0:x", 100), now), Some(None), "another instance may have met a later one");
        assert_eq!(all.must_note(&met("a:1:0:x", 99), now), Some(Some(3)));
        assert_eq!(all.must_note(&met("a:1:0:x", 500), now), Some(Some(3)), "PostgreSQL did not answer then");
        all.noted_at.insert("a:1".to_owned(), now);
        assert_eq!(all.must_note(&met("a:1:7:x", 600), now + APART / 2), None, "it evicts again and again");
        assert_eq!(all.must_note(&met("a:1:7:x", 600), now + APART), Some(None));
    }

    /// An operator, or a fault, may change the policy while an instance starts.
    #[test]
    fn caps_rest_on_the_worker_only_until_redis_evicts_no_more() {
        let with = |policy: &str| [MetIncarnation { policy: policy.to_owned(), ..met("a:1:0:x", 1) }];
        let mut all = Met::default();
        assert!(!all.learn_policy(&[]) && all.evicts.is_none());
        assert!(all.learn_policy(&with("allkeys-lru")));
        assert!(!all.learn_policy(&with("allkeys-lru")) && all.evicts == Some(true));
        assert!(!all.learn_policy(&with("noeviction")) && all.evicts == Some(false));
        assert!(!all.learn_policy(&with("allkeys-lru")) && all.evicts == Some(false), "each eviction is seen");
    }

    #[test]
    fn of_servers_that_answer_only_the_present_incarnation_is_known() {
        let mut all = Met::default();
        for (serial, id) in ["a:1:0:x", "a:1:1:x", "b:1:0:x", "c:1:0:x"].into_iter().enumerate() {
            all.noted.insert(id.to_owned(), noted(serial as i64));
            all.proven.insert(serial as i64);
        }
        all.compare(&["a:1:1:x", "b:2:0:x"].map(|id| met(id, 1)));
        let trusted = all.noted.iter().filter(|(_, noted)| !noted.is_over);
        let mut known: Vec<_> = trusted.map(|(id, _)| id.as_str()).collect();
        known.sort_unstable();
        assert_eq!(known, ["a:1:1:x", "b:1:0:x", "c:1:0:x"], "b is another term, and c is away");
        assert_eq!(all.proven, HashSet::from([1, 2, 3]));
        assert_eq!(all.must_note(&met("a:1:0:x", 500), Instant::now()), Some(Some(0)), "it never comes back");
    }
}
