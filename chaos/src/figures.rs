//! The counts of a run: how much the checker had to judge.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;

use crate::checker::Verdict;
use crate::history::ads::{Outcome, Try};
use crate::history::placements::{Ask, Tried};
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
    /// Ad events; one that is accepted again counts again.
    ads_accepted: "ad events accepted",
    ads_at_last: "  after all faults",
    ads_repeated: "  repeated",
    /// Tries that were refused because the user had as many impressions as the cap allows.
    ads_capped: "  refused by a cap (429)",
    /// Tries that were refused because a budget was spent.
    ads_exhausted: "  refused by a budget (409)",
    /// Tries that were refused because the caps or the budgets could not be asked.
    ads_unavailable: "  refused, unavailable (503)",
    ads_void: "  void",
    ads_invalid: "  invalid",
    campaigns: "campaigns",
    /// Days in which a campaign has spent, beyond one for each campaign.
    midnights: "  with a midnight",
    /// Changes that were answered 200.
    patches: "changes of campaigns",
    /// Changes that were refused because more was spent and reserved already.
    patches_refused: "  refused as too low",
    /// Moments at which the books were read.
    books: "books read",
    reports: "reports",
    /// See `strict_reads`.
    strict_reports: "  judged strictly",
    /// See `excused_reads`.
    excused_reports: "  excused",
    /// Events that were posted once all was quiet.
    probes: "one event more, at last",
    probes_accepted: "  accepted",
    /// Commands that were answered 2xx; one that is repeated counts once.
    commands: "commands done",
    commands_at_last: "  after all faults",
    /// Those with several placements.
    arrays: "  of many at once",
    /// Answers that say that they are those of an earlier try.
    replayed: "  answered again",
    /// Answers 4xx.
    commands_refused: "  refused",
    /// Of these, those whose `If-Match` named an earlier state.
    commands_stale: "  of an earlier state",
    /// Those whose key another command had.
    keys_reused: "  with another's key",
    /// Keys without any certain answer.
    commands_unknown: "  without an answer",
    /// Tries without a certain answer.
    commands_failed: "  tries that failed",
    /// Records of the topic of what commands publish.
    domain_records: "records of commands",
    /// Terms of a relay that found events in the topic whose rows were not deleted yet.
    reconciled: "  found by a relay",
    taken: "taken by subscribers",
    /// Reads of files and of videos.
    file_reads: "files read",
    /// Of these, the revisions that differ.
    file_revisions: "  revisions",
    video_reads: "videos read",
    validations: "validations",
    /// Findings of all of them.
    findings: "  findings",
}

impl Figures {
    /// Counts what a run left behind, except refusals, assignments and the figures of the last phase.
    pub fn of(history: &History, end: &End, verdict: &Verdict, counts: &Counts) -> Self {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let (ads, ads_end) = (&history.ads, &end.ads);
        let tries = |is_so: &dyn Fn(&Try) -> bool| ads.tries.iter().filter(|one| is_so(one)).count();
        let code = |code: &'static str| tries(&move |one: &Try| one.code.as_deref() == Some(code));
        let outcome = |outcome| ads_end.events.iter().filter(|event| event.outcome == outcome).count();
        let days: BTreeSet<_> = ads_end.events.iter().map(|event| (event.campaign, &event.day)).collect();
        let of_days: BTreeSet<_> = days.iter().map(|(campaign, _)| campaign).collect();
        let patches = |status| ads.patches.iter().filter(|patch| patch.status == status).count();
        let moments: BTreeSet<_> = ads.books.iter().map(|books| books.at).collect();
        let placed = Self::of_placements(history, end);
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
            ads_accepted: count(&counts.ads_accepted),
            ads_repeated: count(&counts.ads_repeated),
            ads_capped: tries(&Try::is_capped),
            ads_exhausted: code("budget_exhausted"),
            ads_unavailable: code("admission_unavailable"),
            ads_void: outcome(Outcome::Void),
            ads_invalid: outcome(Outcome::Invalid),
            campaigns: ads_end.campaigns.len(),
            midnights: days.len() - of_days.len(),
            patches: patches(200),
            patches_refused: patches(409),
            books: moments.len(),
            reports: ads.reports.len(),
            strict_reports: verdict.reports.strict,
            excused_reports: verdict.reports.excused,
            probes: tries(&|one| one.probe),
            probes_accepted: tries(&|one| one.probe && one.is_accepted()),
            commands_failed: count(&counts.commands_failed),
            ..placed
        }
    }

    fn of_placements(history: &History, end: &End) -> Self {
        let (observed, stored) = (&history.placements, &end.placements);
        let keys = |is_so: &dyn Fn(&Tried) -> bool| {
            let of_it: BTreeSet<&str> =
                observed.tries.iter().filter(|tried| is_so(tried)).map(|tried| tried.key.as_str()).collect();
            of_it
        };
        let code = |code: &str| observed.tries.iter().filter(|tried| tried.code.as_deref() == Some(code)).count();
        let certain = keys(&|tried| tried.is_certain() && !tried.reuses);
        let revisions: BTreeSet<_> =
            observed.files.iter().map(|read| (&read.video, &read.kind, read.revision)).collect();
        let findings = stored.validations.iter().filter_map(|row| row.findings.as_ref()?.as_array());
        Self {
            commands: keys(&Tried::is_done).len(),
            arrays: keys(&|tried| tried.is_done() && matches!(tried.ask, Ask::PlaceMany { .. })).len(),
            replayed: observed.tries.iter().filter(|tried| tried.replayed).count(),
            commands_refused: keys(&|tried| tried.is_refused() && !tried.reuses).len(),
            commands_stale: code("precondition_failed"),
            keys_reused: code("key_reused"),
            commands_unknown: keys(&|_| true).difference(&certain).count(),
            domain_records: stored.records.len(),
            taken: stored.inbox.len(),
            file_reads: observed.files.len(),
            file_revisions: revisions.len(),
            video_reads: observed.videos.len(),
            validations: stored.validations.len(),
            findings: findings.map(Vec::len).sum(),
            ..Self::default()
        }
    }
}
