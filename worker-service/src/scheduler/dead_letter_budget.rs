//! The budget of dead letters: after a bad deploy a partition waits for an operator, instead of
//! draining its topic into the dead-letter topic.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use shared::kafka::{DeadLetter, Reason, Record};

use super::Settings;

/// Looks back on the last records of a partition. Redriven records do not count, nor do events of a type that this
/// version does not know: a deploy brings them all back, and nothing is wrong with the others. Nor do those that met an
/// outage alone: each of them was held for a while, loudly.
#[derive(Debug, Default)]
pub(super) struct DeadLetterBudget {
    /// One entry a record: for a dead letter its key's hash. A key may have a megabyte.
    last: VecDeque<Option<u64>>,
    /// Keyed by chance, so that nobody can choose keys that look like one.
    hasher: RandomState,
    /// Dead letters in `last`.
    count: usize,
    /// How many dead letters at the front of the queue were let through before, and came back because
    /// the dead-letter topic did not take them: each counts once.
    let_through: usize,
}

/// Letters sent at once.
const CHUNK: usize = 100;

impl DeadLetterBudget {
    pub(super) fn applied(&mut self, record: &Record, settings: &Settings) {
        // While there are no dead letters, nothing has to be remembered.
        if self.count > 0 && !record.is_redriven() {
            self.push(None, settings);
        }
    }

    /// Takes the dead letters that may go now, from the front; none where the budget is used up.
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
                // Without a key nobody knows whose it is: each counts as somebody else's.
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

    /// So many dead letters that were taken are at the front of the queue again.
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
