//! When a read may be older than the fence: while fences are put off because Redis is away from a
//! worker, until they are sent; and where a worker ended with fences that it had put off, until what they
//! would have replaced is gone from the cache. Never by more than a body can live there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::Device;
use crate::history::{Commit, History, Read, Row, Span};

/// A time in which reads may be older than the fence.
pub(super) struct StalenessAllowance<'a> {
    /// Redis is away from a worker from here on.
    from: Duration,
    /// The fences of workers that run on are sent by then.
    sent: Duration,
    /// Those of workers that stood still are sent by then, too, and what those of ended workers were for
    /// is gone from the cache.
    end: Duration,
    /// How much older than a read the state can be that a body in the cache shows.
    max_age: Duration,
    /// What was committed here had its fence before Redis was away.
    before: Option<&'a Commit>,
    /// What was not even committed here has its fence yet to come, and Redis is back.
    after: Option<&'a Commit>,
}

impl<'a> StalenessAllowance<'a> {
    pub(super) fn all(history: &'a History) -> Vec<Self> {
        let outages = outages(history);
        outages.iter().map(|outage| Self::of(history, &outages, outage)).collect()
    }

    fn of(history: &'a History, outages: &[Outage], outage: &Outage) -> Self {
        let (from, sent) = (outage.from, outage.sent);
        let max_age = history.bounds.ttl + history.bounds.fill_delay;
        let (mut settled, mut end) = (sent, sent);
        for worker in outage.workers_away(history) {
            let (held_until, lost) = put_off_by(worker, history, outages, outage);
            settled = settled.max(held_until);
            end = end.max(held_until).max(lost.map_or(Duration::ZERO, |lost| lost + max_age));
        }
        let before = history.commits.iter().rfind(|commit| commit.at < from);
        // The first one was perhaps asked for too early.
        let after = history.commits.iter().filter(|commit| commit.at > settled).nth(1);
        Self { from, sent, end, max_age, before, after }
    }

    pub(super) fn end(&self) -> Duration {
        self.end
    }

    /// For one device; none where nothing of it was put off.
    pub(super) fn of_device(&self, history: &History, device: &Device<'_>) -> Option<OfDevice<'_>> {
        self.concerns(device).then(|| OfDevice { outage: self, made_up_for: self.made_up_for(history, device) })
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

pub(super) struct OfDevice<'a> {
    outage: &'a StalenessAllowance<'a>,
    /// A fence that was lost is made up for by the next one.
    made_up_for: Option<Duration>,
}

impl OfDevice<'_> {
    /// A moment before the read: what was fenced or read before that is all that it has to show. None
    /// where this allows it nothing. What came from PostgreSQL needs no allowance, and what was asked for
    /// before Redis was away needs none either.
    pub(super) fn since(&self, read: &Read) -> Option<Duration> {
        let StalenessAllowance { from, sent, end, max_age, .. } = *self.outage;
        let while_put_off = read.from >= from && read.from <= sent;
        let left_behind = read.from > sent && read.from <= end;
        let made_up_for = self.made_up_for.is_some_and(|at| at < read.from);
        let allowed = !read.bypass && (while_put_off || left_behind && !made_up_for);
        allowed.then(|| from.max(read.from.saturating_sub(max_age)))
    }
}

/// Redis away from a worker, once or several times with too little time in between to send what was put
/// off: what the first time left behind is sent after the last one then.
struct Outage {
    from: Duration,
    /// The time that ended last.
    last: Span,
    /// What was put off by workers that run on is sent by then.
    sent: Duration,
}

impl Outage {
    /// The workers that ended or stood still before they had sent what they put off.
    fn workers_away(&self, history: &History) -> BTreeSet<u32> {
        let until_sent = Span { from: self.from, to: self.sent };
        let away = history.workers_away.iter().filter(|away| away.span.meets(&until_sent));
        away.map(|away| away.worker).collect()
    }
}

fn outages(history: &History) -> Vec<Outage> {
    let mut spans = history.redis_away.clone();
    spans.sort();
    let mut outages: Vec<Outage> = Vec::new();
    for span in spans {
        let (from, last) = match outages.pop_if(|outage| span.from <= outage.sent) {
            Some(outage) => (outage.from, if outage.last.to > span.to { outage.last } else { span }),
            None => (span.from, span),
        };
        outages.push(Outage { from, last, sent: sent_after(history, last) });
    }
    outages
}

/// When a worker has sent what it had put off, after it could not for this time.
fn sent_after(history: &History, Span { from, to }: Span) -> Duration {
    let bounds = &history.bounds;
    let sent = to + bounds.fences_sent;
    let waits = history.postgres_away.iter().any(|away| away.meets(&Span { from, to: sent }));
    if waits { sent + bounds.store_timeout } else { sent }
}

/// When a worker that goes on at this moment has sent what it had put off before it stood still.
fn sent_from(history: &History, outages: &[Outage], back: Duration) -> Duration {
    let sent = sent_after(history, Span { from: back, to: back });
    let meanwhile = outages.iter().filter(|outage| outage.from <= sent && outage.sent >= back);
    meanwhile.map(|outage| outage.sent).fold(sent, Duration::max)
}

/// Until when a worker may keep what it put off in this outage, and when it ended before that, if it did.
fn put_off_by(worker: u32, history: &History, outages: &[Outage], outage: &Outage) -> (Duration, Option<Duration>) {
    let away = |ended| history.workers_away.iter().filter(move |away| away.worker == worker && away.ended == ended);
    let mut until = outage.sent;
    // It may stand still once more before it has sent them.
    while let Some(later) = away(false)
        .filter(|away| away.span.meets(&Span { from: outage.from, to: until }))
        .map(|away| sent_from(history, outages, away.span.to))
        .max()
        .filter(|later| *later > until)
    {
        until = later;
    }
    let ended = away(true).filter(|away| away.span.meets(&Span { from: outage.from, to: until }));
    (until, ended.map(|away| away.span.to.min(until)).max())
}

fn has(commit: &Commit, row: &Row) -> bool {
    commit.offsets.get(&row.partition).is_some_and(|offset| row.offset < *offset)
}
