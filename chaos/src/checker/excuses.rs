//! When a read may be older than the fence: while fences are put off because Redis is away from a
//! worker, and no longer than that.

use std::time::Duration;

use super::Device;
use crate::history::{History, Read, Span};

/// A time in which fences were put off.
pub(super) struct Excuse {
    from: Duration,
    /// They are sent by then.
    sent: Duration,
    /// But those of a worker that ended or stood still are not; then what they were for is gone from
    /// the cache by then.
    gone: Option<Duration>,
}

impl Excuse {
    /// All there were.
    pub(super) fn all(history: &History) -> Vec<Self> {
        history.redis_away.iter().map(|span| Self::of(history, *span)).collect()
    }

    fn of(history: &History, (from, to): Span) -> Self {
        let bounds = &history.bounds;
        let mut sent = to + bounds.fences_sent;
        if overlaps(&history.postgres_away, (from, sent)) {
            sent += bounds.store_timeout;
        }
        let gone = overlaps(&history.workers_away, (from, sent)).then(|| sent + bounds.ttl);
        Self { from, sent, gone }
    }

    /// When it excuses nothing any more.
    pub(super) fn end(&self) -> Duration {
        self.gone.unwrap_or(self.sent)
    }

    /// When what was fenced before is all that a read has to see; none where it does not excuse this
    /// read. What came from PostgreSQL needs no excuse, and a fence that was lost is made up for by
    /// the next one of that device.
    pub(super) fn since(&self, history: &History, device: &Device<'_>, read: &Read) -> Option<Duration> {
        let while_put_off = read.to >= self.from && read.from <= self.sent;
        let lost = self.gone.is_some_and(|gone| read.from > self.sent && read.from <= gone);
        let excused = !read.bypass && (while_put_off || lost && !self.is_made_up_for(history, device, read.from));
        excused.then_some(self.from)
    }

    /// Whether an event that was first sent when all was well again had its effect, which was known
    /// at this time.
    fn is_made_up_for(&self, history: &History, device: &Device<'_>, at: Duration) -> bool {
        let Some(commit) = history.commits.iter().rfind(|commit| commit.at < at) else { return false };
        let is_known = |id: &str| {
            let row = device.rows.iter().find(|row| row.id == id);
            row.is_some_and(|row| commit.offsets.get(&row.partition).is_some_and(|offset| row.offset < *offset))
        };
        device.sent.iter().filter(|event| event.first.at > self.sent).any(|event| is_known(&event.id))
    }
}

fn overlaps(spans: &[Span], (from, to): Span) -> bool {
    spans.iter().any(|span| span.0 <= to && span.1 >= from)
}
