//! The counts of a run: how much the checker had to judge.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;

use crate::checker::Verdict;
use crate::history::{End, History, Record, TRANSACTIONS_DEVICE};
use crate::load::Counts;

/// The counts of a run, each with its row in the table.
macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident: $row:literal,)*) => {
        /// The counts of a run; in [`least`](crate::least), their minimum.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub struct Figures {
            $($(#[$doc])* pub $name: usize,)*
        }

        impl Figures {
            pub const NONE: Self = Self { $($name: 0),* };

            pub fn rows(&self) -> Vec<(&'static str, usize)> {
                vec![$(($row, self.$name)),*]
            }
        }
    };
}

figures! {
    accepted: "events accepted",
    accepted_at_last: "  after all faults",
    duplicates: "  duplicates sent",
    batches: "posts of batches",
    partial_batches: "  answered 207",
    failed_posts: "posts that failed",
    /// Records of the input topic, duplicates and poison included.
    records: "records in the log",
    records_in_added_partitions: "  in added partitions",
    rows: "rows",
    superseded: "  superseded",
    refusals: "refusals",
    dead_letters: "dead letters",
    /// Of these, events that PostgreSQL refused for too long; the other letters are not of events.
    refused_letters: "  of refused devices",
    /// Events in the log that another producer wrote in transactions.
    committed_events: "events in transactions",
    aborted_events: "  aborted",
    assignments: "partitions assigned",
    /// How often the committed offsets, and so the fenced events, were read.
    commits: "commits seen",
    reads: "reads",
    reads_at_last: "  after all events",
    /// Reads that began when something was fenced, and had to show all of it.
    strict_reads: "  judged strictly",
    /// Reads that only had to show what was fenced before a worker lost Redis.
    excused_reads: "  excused",
    /// Bodies in the cache at the end, each compared with its row.
    cached: "cached bodies at last",
}

impl Figures {
    /// Counts what a run left behind, except refusals, assignments and the figures of the last phase.
    pub fn of(history: &History, end: &End, verdict: &Verdict, counts: &Counts) -> Self {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let is_of_transaction = |it: &&Record| it.id.is_some() && it.device.starts_with(TRANSACTIONS_DEVICE);
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
            committed_events: end.log.iter().filter(is_of_transaction).count(),
            aborted_events: history.aborted.values().map(BTreeSet::len).sum(),
            commits: history.commits.len(),
            reads: history.reads.len(),
            strict_reads: verdict.reads.strict,
            excused_reads: verdict.reads.excused,
            cached: end.cached.len(),
            ..Self::default()
        }
    }
}
