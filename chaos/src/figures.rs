//! What a run counted: how much there was to be judged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;

use crate::checker::Verdict;
use crate::history::{End, History};
use crate::load::Counts;

/// The counts of a run; in [`least`](crate::least), what they have to be at least.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub accepted: usize,
    /// Of these, those that were sent when all faults were over.
    pub accepted_at_last: usize,
    /// Events sent again although they had been acknowledged, or twice in one post.
    pub duplicates: usize,
    /// Posts of several events at once.
    pub batches: usize,
    /// Of these, answered 207: some of their events were taken, and some were not.
    pub partial_batches: usize,
    /// Posts that were answered otherwise than 202 and 207, or not at all.
    pub failed_posts: usize,
    /// Records of the input topic, duplicates and poison included.
    pub records: usize,
    /// Of these, records in partitions that were added.
    pub records_in_added_partitions: usize,
    pub rows: usize,
    /// Of these, rows that came behind a newer state.
    pub superseded: usize,
    /// How often PostgreSQL refused an event as data.
    pub refusals: usize,
    pub dead_letters: usize,
    /// Of these, events that PostgreSQL refused for too long; the others are no events.
    pub refused_letters: usize,
    /// Events of transactions of another producer that are in the log.
    pub committed_events: usize,
    pub aborted_events: usize,
    /// Partitions assigned, over all workers.
    pub assignments: usize,
    /// How often it was seen what is committed, and so fenced.
    pub commits: usize,
    pub reads: usize,
    /// Of these, those that were answered when all events were sent.
    pub reads_at_last: usize,
    /// Of all reads, those that had to show all that was fenced when they began, where something was.
    pub strict_reads: usize,
    /// And reads that had to show only what was fenced before Redis was away from a worker.
    pub excused_reads: usize,
    /// Bodies in the cache at the end, each compared with its row.
    pub cached: usize,
}

impl Figures {
    /// Counts what a run left behind. Of refusals, assignments and what came at last it tells nothing.
    pub fn of(history: &History, end: &End, verdict: &Verdict, counts: &Counts) -> Self {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Self {
            accepted: count(&counts.accepted),
            duplicates: count(&counts.duplicates),
            batches: count(&counts.batches),
            partial_batches: count(&counts.partial),
            failed_posts: count(&counts.failed),
            records: end.log.len(),
            records_in_added_partitions: end.log.iter().filter(|record| record.partition >= DEFAULT_PARTITIONS).count(),
            rows: end.rows.len(),
            superseded: end.rows.iter().filter(|row| !row.applied).count(),
            dead_letters: end.letters.len(),
            refused_letters: end.letters.iter().filter(|letter| letter.reason == "failed").count(),
            committed_events: end.log.iter().filter(|record| history.is_of_transaction(record)).count(),
            aborted_events: history.aborted.values().map(BTreeSet::len).sum(),
            commits: history.commits.len(),
            reads: history.reads.len(),
            strict_reads: verdict.strict,
            excused_reads: verdict.excused,
            cached: end.cached.len(),
            ..Self::default()
        }
    }

    pub fn rows(&self) -> [(&'static str, usize); 22] {
        [
            ("events accepted", self.accepted),
            ("  after all faults", self.accepted_at_last),
            ("  duplicates sent", self.duplicates),
            ("posts of batches", self.batches),
            ("  answered 207", self.partial_batches),
            ("posts that failed", self.failed_posts),
            ("records in the log", self.records),
            ("  in added partitions", self.records_in_added_partitions),
            ("rows", self.rows),
            ("  superseded", self.superseded),
            ("refusals", self.refusals),
            ("dead letters", self.dead_letters),
            ("  of refused devices", self.refused_letters),
            ("events in transactions", self.committed_events),
            ("  aborted", self.aborted_events),
            ("partitions assigned", self.assignments),
            ("commits seen", self.commits),
            ("reads", self.reads),
            ("  after all events", self.reads_at_last),
            ("  judged strictly", self.strict_reads),
            ("  excused", self.excused_reads),
            ("cached bodies at last", self.cached),
        ]
    }
}
