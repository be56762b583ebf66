//! When a read may be older than the fence: while fences are put off because Redis is away from a
//! worker, and no longer than that.

use std::time::Duration;

use super::Device;
use crate::history::{Commit, History, Read, Row, Span};

/// A time in which fences were put off.
pub(super) struct Excuse<'a> {
    from: Duration,
    /// What was committed before has been fenced before.
    before: Option<&'a Commit>,
    /// What was not even committed when all was well again has its fence yet to come.
    after: Option<&'a Commit>,
    /// They are sent by then.
    sent: Duration,
    /// But those of a worker that ended or stood still are not; then what they were for is gone from
    /// the cache by then.
    gone: Option<Duration>,
}

impl<'a> Excuse<'a> {
    /// All there were.
    pub(super) fn all(history: &'a History) -> Vec<Self> {
        history.redis_away.iter().map(|span| Self::of(history, *span)).collect()
    }

    fn of(history: &'a History, (from, to): Span) -> Self {
        let bounds = &history.bounds;
        let mut sent = to + bounds.fences_sent;
        if history.postgres_away.iter().any(|span| overlap(*span, (from, sent))) {
            sent += bounds.store_timeout;
        }
        let workers = history.workers_away.iter().filter(|span| overlap(**span, (from, sent)));
        // One that stood still commits and sends side by side when it goes on.
        let settled = workers.map(|(_, back)| sent.max(*back + bounds.fences_sent)).max();
        let gone = settled.map(|_| sent + bounds.ttl);
        let before = history.commits.iter().rfind(|commit| commit.at < from);
        // The first one was perhaps asked for too early.
        let after = history.commits.iter().filter(|commit| commit.at > settled.unwrap_or(sent)).nth(1);
        Self { from, before, after, sent, gone }
    }

    /// When it excuses nothing any more.
    pub(super) fn end(&self) -> Duration {
        self.gone.unwrap_or(self.sent)
    }

    /// When what was fenced before is all that a read has to see; none where it does not excuse this
    /// read. What came from PostgreSQL needs no excuse, nor does a device of which nothing was put off,
    /// and a fence that was lost is made up for by the next one of that device.
    pub(super) fn since(&self, history: &History, device: &Device<'_>, read: &Read) -> Option<Duration> {
        let while_put_off = read.to >= self.from && read.from <= self.sent;
        let lost = self.gone.is_some_and(|gone| read.from > self.sent && read.from <= gone);
        let made_up_for = || self.is_made_up_for(history, device, read.from);
        let excused = !read.bypass && (while_put_off || lost && !made_up_for()) && self.concerns(device);
        excused.then_some(self.from)
    }

    /// Whether a fence of this device can have been put off: one of its events had its effect then.
    fn concerns(&self, device: &Device<'_>) -> bool {
        device.rows.iter().any(|row| {
            !self.before.is_some_and(|commit| has(commit, row)) && self.after.is_none_or(|commit| has(commit, row))
        })
    }

    /// Whether an event that was first sent when all was well again had its effect, which was known
    /// at this time.
    fn is_made_up_for(&self, history: &History, device: &Device<'_>, at: Duration) -> bool {
        let Some(commit) = history.commits.iter().rfind(|commit| commit.at < at) else { return false };
        let is_known = |id: &str| device.rows.iter().any(|row| row.id == id && has(commit, row));
        device.sent.iter().filter(|event| event.first.at > self.sent).any(|event| is_known(&event.id))
    }
}

fn has(commit: &Commit, row: &Row) -> bool {
    commit.offsets.get(&row.partition).is_some_and(|offset| row.offset < *offset)
}

fn overlap(one: Span, other: Span) -> bool {
    one.0 <= other.1 && one.1 >= other.0
}
