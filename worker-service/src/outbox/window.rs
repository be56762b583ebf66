//! Which rows of the outbox to read next. Pure: times are arguments.
//!
//! Rows are deleted after they are published, and PostgreSQL keeps dead rows for as long as any snapshot may see them.
//! A read that begins at the first id would walk over all of them. So reads begin behind the ids that were published
//! more than a minute before the last whole read: a row with a lower id that was not there yet belongs to a
//! transaction of more than a minute. Such a row is found by the next whole read, a minute later at most, and its
//! aggregate's order is kept: a number that is not the next one of its aggregate makes the relay read everything before
//! it publishes.
//!
//! While more rows wait than one read takes, most reads begin behind the last row of the one before, and do not walk
//! over what was just published, either. A late row with a lower id then waits for a second.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use shared::runtime::sabotage::makes;

/// How often everything is read.
pub const WHOLE_READ_INTERVAL: Duration = Duration::from_secs(60);
/// Transactions take less than this, nearly always.
const LONG_TRANSACTION: Duration = Duration::from_secs(60);
/// How often a read begins at [`Window::after`] although there is a backlog.
const LOOK_BACK_INTERVAL: Duration = Duration::from_secs(1);
/// Rows published in this time share one entry.
const ENTRY: Duration = Duration::from_secs(1);
/// Of how many aggregates the last number is known: twice this many, at most.
const HALF_OF_KNOWN: usize = 50_000;

/// A row, as far as the window is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    pub id: i64,
    pub aggregate: &'a str,
    pub sequence: i64,
}

/// Where the reads of one term begin. Times are counted from the term's begin.
#[derive(Debug, Default)]
pub struct Window {
    after: i64,
    /// When everything was last read.
    whole: Option<Duration>,
    /// The greatest id of those that are published for long.
    settled: i64,
    /// The greatest ids that were published since, each with a time at which they were.
    recent: VecDeque<(Duration, i64)>,
    /// The last id of the read before, if it had no room for more rows.
    full: Option<i64>,
    /// When the next read has to begin at [`Self::after`].
    look_back: Duration,
    last: LastNumbers,
}

impl Window {
    /// Behind which id the next read begins; 0 for a whole read.
    pub fn next(&self, now: Duration) -> i64 {
        match self.full {
            Some(last) if now < self.look_back => last,
            _ => self.after(now),
        }
    }

    /// Behind which id all rows are that are not published, but for very late ones; 0 for a whole read.
    pub fn after(&self, now: Duration) -> i64 {
        if makes("relay-cursor") {
            return self.recent.back().map_or(0, |(_, id)| *id);
        }
        let is_due = self.whole.is_none_or(|whole| now.saturating_sub(whole) >= WHOLE_READ_INTERVAL);
        if is_due { 0 } else { self.after }
    }

    /// A read behind this id began at this time, and found these rows; `is_full` if there may be more.
    pub fn read(&mut self, now: Duration, after: i64, rows: &[Numbered<'_>], is_full: bool) {
        if self.full.is_none_or(|last| after < last) {
            self.look_back = now + LOOK_BACK_INTERVAL;
        }
        self.full = rows.last().map(|row| row.id).filter(|_| is_full);
        if after == 0 {
            self.read_all(now, rows);
        }
    }

    /// A whole read began at this time, and found these rows: all that there are, or the first ones.
    fn read_all(&mut self, now: Duration, rows: &[Numbered<'_>]) {
        while let Some((_, id)) = self.recent.pop_front_if(|(at, _)| *at + LONG_TRANSACTION <= now) {
            self.settled = self.settled.max(id);
        }
        self.whole = Some(now);
        // Behind the last of the first ones there may be more, whatever was published.
        self.after = rows.iter().map(|row| row.id).max().map_or(self.settled, |last| self.settled.min(last));
    }

    /// Whether rows that a read behind [`Self::after`] found may not be the next ones of their aggregates. An unknown
    /// aggregate may have had any number.
    pub fn may_lack(&self, rows: &[Numbered<'_>]) -> bool {
        let mut seen = HashMap::new();
        !makes("relay-cursor")
            && rows.iter().any(|row| {
                let before = seen.insert(row.aggregate, row.sequence).or_else(|| self.last.get(row.aggregate));
                row.sequence > before.unwrap_or(0) + 1
            })
    }

    /// The aggregate of a row whose number is published already. A late commit is none: numbers and commits of an
    /// aggregate rise together. PostgreSQL has gone back to an earlier time.
    pub fn goes_back<'a>(&self, rows: &[Numbered<'a>]) -> Option<&'a str> {
        let is_published = |row: &&Numbered<'a>| self.last.get(row.aggregate).is_some_and(|last| row.sequence <= last);
        rows.iter().find(is_published).map(|row| row.aggregate)
    }

    /// These rows are published, and deleted.
    pub fn published(&mut self, now: Duration, rows: &[Numbered<'_>]) {
        for row in rows {
            self.last.set(row.aggregate, row.sequence);
        }
        let Some(greatest) = rows.iter().map(|row| row.id).max() else { return };
        match self.recent.back_mut() {
            Some((until, id)) if now <= *until => *id = (*id).max(greatest),
            last => {
                let greatest = last.map_or(greatest, |(_, id)| greatest.max(*id));
                self.recent.push_back((now + ENTRY, greatest));
            }
        }
    }
}

/// The last published number of the aggregates that were published most recently.
#[derive(Debug, Default)]
struct LastNumbers {
    young: HashMap<String, i64>,
    old: HashMap<String, i64>,
}

impl LastNumbers {
    fn get(&self, aggregate: &str) -> Option<i64> {
        self.young.get(aggregate).or_else(|| self.old.get(aggregate)).copied()
    }

    fn set(&mut self, aggregate: &str, number: i64) {
        if let Some(known) = self.young.get_mut(aggregate) {
            *known = number;
            return;
        }
        if self.young.len() >= HALF_OF_KNOWN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(aggregate.to_owned(), number);
    }
}

#[cfg(test)]
mod tests;
