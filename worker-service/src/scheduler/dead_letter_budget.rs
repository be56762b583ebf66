//! The dead-letter budget: after a bad deploy a partition pauses until an operator resumes it, instead of
//! draining its topic into the dead-letter topic.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use shared::kafka::{DeadLetter, Reason, Record};

use super::Settings;

/// Counts dead letters among the last records of a partition. Three kinds do not count: redriven records; events of a
/// type that this version does not know, which can be redriven after the next deploy; and events that met an outage
/// alone, because each was already held and reported for a while.
#[derive(Debug, Default)]
pub(super) struct DeadLetterBudget {
    /// One entry per record: for a dead letter the hash of its key. A key itself may have a megabyte.
    last: VecDeque<Option<u64>>,
    /// Randomly seeded, so that a sender cannot choose keys whose hashes collide.
    hasher: RandomState,
    /// Dead letters in `last`.
    count: usize,
    /// How many dead letters at the front of the queue were let through before and came back, because the dead-letter
    /// topic did not accept them. They are not counted again.
    let_through: usize,
}

/// The most dead letters sent at once.
const CHUNK: usize = 100;

impl DeadLetterBudget {
    pub(super) fn applied(&mut self, record: &Record, settings: &Settings) {
        // Without a dead letter in the window, applied records need no entry.
        if self.count > 0 && !record.is_redriven() {
            self.push(None, settings);
        }
    }

    /// Takes the dead letters that may be sent now, from the front; none if the budget is used up.
    pub(super) fn take(&mut self, letters: &mut VecDeque<DeadLetter>, settings: &Settings) -> Vec<DeadLetter> {
        let mut taken = Vec::new();
        while taken.len() < CHUNK
            && let Some(letter) = letters.pop_front()
        {
            if self.let_through > 0 {
                self.let_through -= 1;
            } else if !letter.record.is_redriven()
                && !matches!(letter.reason, Reason::UnknownType | Reason::UnknownError)
            {
                // Records without a key count as records of different keys.
                let key = match letter.record.key() {
                    Some(key) => self.hasher.hash_one(key),
                    None => self.hasher.hash_one(letter.record.offset),
                };
                if self.count >= settings.budget_dead_letters && self.keys_with(key) > settings.budget_keys {
                    letters.push_front(letter);
                    break;
                }
                self.push(Some(key), settings);
            }
            taken.push(letter);
        }
        taken
    }

    /// This many dead letters that were taken are back at the front of the queue.
    pub(super) fn came_back(&mut self, letters: usize) {
        self.let_through += letters;
    }

    pub(super) fn renew(&mut self) {
        self.last.clear();
        self.count = 0;
    }

    fn keys_with(&self, key: u64) -> usize {
        self.last.iter().flatten().copied().chain([key]).collect::<HashSet<u64>>().len()
    }

    fn push(&mut self, entry: Option<u64>, settings: &Settings) {
        self.count += usize::from(entry.is_some());
        self.last.push_back(entry);
        if self.last.len() > settings.budget_window && self.last.pop_front().flatten().is_some() {
            self.count -= 1;
        }
    }
}
