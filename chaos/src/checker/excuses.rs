//! When a read may be older than the fence: while fences are put off because Redis is away from a
//! worker, and no longer than that.

use std::collections::{BTreeMap, HashSet};
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

    /// For one device; none where nothing of it was put off.
    pub(super) fn of_device(&self, history: &History, device: &Device<'_>) -> Option<OfDevice> {
        let Self { from, sent, gone, .. } = *self;
        self.concerns(device).then(|| OfDevice { from, sent, gone, made_up_for: self.made_up_for(history, device) })
    }

    /// Whether a fence of this device can have been put off: one of its events had its effect then.
    fn concerns(&self, device: &Device<'_>) -> bool {
        device.rows.iter().any(|row| {
            !self.before.is_some_and(|commit| has(commit, row)) && self.after.is_none_or(|commit| has(commit, row))
        })
    }

    /// When it was known that an event had its effect which was first sent when all was well again.
    fn made_up_for(&self, history: &History, device: &Device<'_>) -> Option<Duration> {
        let late = device.sent.iter().filter(|event| event.first.at > self.sent);
        let late: HashSet<&str> = late.map(|event| event.id.as_str()).collect();
        let mut first: BTreeMap<i32, i64> = BTreeMap::new();
        for row in device.rows.iter().filter(|row| late.contains(row.id.as_str())) {
            first.entry(row.partition).and_modify(|offset| *offset = row.offset.min(*offset)).or_insert(row.offset);
        }
        let is_known = |commit: &&Commit| {
            first.iter().any(|(partition, offset)| commit.offsets.get(partition).is_some_and(|next| offset < next))
        };
        history.commits.iter().filter(is_known).map(|commit| commit.at).min()
    }
}

/// What an excuse is to one device.
pub(super) struct OfDevice {
    from: Duration,
    sent: Duration,
    gone: Option<Duration>,
    /// A fence that was lost is made up for by the next one.
    made_up_for: Option<Duration>,
}

impl OfDevice {
    /// When what was fenced before is all that a read has to see; none where it does not excuse this
    /// read. What came from PostgreSQL needs no excuse.
    pub(super) fn since(&self, read: &Read) -> Option<Duration> {
        let while_put_off = read.to >= self.from && read.from <= self.sent;
        let lost = self.gone.is_some_and(|gone| read.from > self.sent && read.from <= gone);
        let made_up_for = self.made_up_for.is_some_and(|at| at < read.from);
        (!read.bypass && (while_put_off || lost && !made_up_for)).then_some(self.from)
    }
}

fn has(commit: &Commit, row: &Row) -> bool {
    commit.offsets.get(&row.partition).is_some_and(|offset| row.offset < *offset)
}

fn overlap(one: Span, other: Span) -> bool {
    one.0 <= other.1 && one.1 >= other.0
}
