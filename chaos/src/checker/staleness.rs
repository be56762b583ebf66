//! When a read may be older than the fence. First, while a worker cannot reach Redis and defers its fences,
//! until it sends them. Second, if a worker ended with deferred fences, until the entries that they would
//! have replaced have expired. A read is never older than the longest life of a body in the cache.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::Device;
use crate::history::{Commit, History, Read, Row, Span};

/// A period in which reads may be older than the fence.
pub(super) struct StalenessAllowance<'a> {
    /// From here on a worker cannot reach Redis.
    from: Duration,
    /// By then running workers have sent their fences.
    sent: Duration,
    /// By then frozen workers have sent theirs, too, and the entries that the fences of ended workers
    /// would have replaced have expired.
    end: Duration,
    /// The greatest age of the state in a cached body when it is read.
    max_age: Duration,
    /// The last commit before the outage; everything in it has its fence.
    before: Option<&'a Commit>,
    /// The first commit that was asked for after recovery; the fences of later events are not affected.
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
        // The first of these may have been requested too early.
        let after = history.commits.iter().filter(|commit| commit.at > settled).nth(1);
        Self { from, sent, end, max_age, before, after }
    }

    pub(super) fn end(&self) -> Duration {
        self.end
    }

    /// The allowance for one device; `None` if none of its fences were deferred.
    pub(super) fn of_device(&self, history: &History, device: &Device<'_>) -> Option<OfDevice<'_>> {
        self.concerns(device).then(|| OfDevice { outage: self, made_up_for: self.made_up_for(history, device) })
    }

    /// The allowance for whatever may have had a fence in this period.
    pub(super) fn of_any(&self) -> OfDevice<'_> {
        OfDevice { outage: self, made_up_for: None }
    }

    /// Whether a fence of this device can have been deferred: one of its events had its effect in this period.
    fn concerns(&self, device: &Device<'_>) -> bool {
        device.rows.iter().any(|row| {
            !self.before.is_some_and(|commit| has(commit, row)) && self.after.is_none_or(|commit| has(commit, row))
        })
    }

    /// When a commit first showed the effect of an event that was first sent after recovery.
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
    /// When a later fence made up for a lost one.
    made_up_for: Option<Duration>,
}

impl OfDevice<'_> {
    /// A moment before the read: the read only has to show what was fenced or read before that moment.
    /// `None` if the read has no allowance: it came from PostgreSQL, or it began before the outage or after
    /// the period.
    pub(super) fn since(&self, read: &Read) -> Option<Duration> {
        let StalenessAllowance { from, sent, end, max_age, .. } = *self.outage;
        let while_put_off = read.from >= from && read.from <= sent;
        let left_behind = read.from > sent && read.from <= end;
        let made_up_for = self.made_up_for.is_some_and(|at| at < read.from);
        let allowed = !read.bypass && (while_put_off || left_behind && !made_up_for);
        allowed.then(|| from.max(read.from.saturating_sub(max_age)))
    }
}

/// A worker cannot reach Redis, once or several times with too little time in between to send the deferred
/// fences: those of the first time are then sent after the last one.
struct Outage {
    from: Duration,
    /// The span that ends last.
    last: Span,
    /// By then running workers have sent their deferred fences.
    sent: Duration,
}

impl Outage {
    /// The workers that ended or were frozen before they had sent their deferred fences.
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

/// When a worker has sent its deferred fences after this span without Redis.
fn sent_after(history: &History, Span { from, to }: Span) -> Duration {
    let bounds = &history.bounds;
    let sent = to + bounds.fences_sent;
    let waits = history.postgres_away.iter().any(|away| away.meets(&Span { from, to: sent }));
    if waits { sent + bounds.store_timeout } else { sent }
}

/// When a worker that resumes at this moment has sent the fences that it had deferred before it was frozen.
fn sent_from(history: &History, outages: &[Outage], back: Duration) -> Duration {
    let sent = sent_after(history, Span { from: back, to: back });
    let meanwhile = outages.iter().filter(|outage| outage.from <= sent && outage.sent >= back);
    meanwhile.map(|outage| outage.sent).fold(sent, Duration::max)
}

/// The last moment at which a worker may hold deferred fences of this outage, and when it ended if it ended before
/// that.
fn put_off_by(worker: u32, history: &History, outages: &[Outage], outage: &Outage) -> (Duration, Option<Duration>) {
    let away = |ended| history.workers_away.iter().filter(move |away| away.worker == worker && away.ended == ended);
    let mut until = outage.sent;
    // It may be frozen once more before it has sent them.
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
