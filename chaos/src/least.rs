//! The minimum of faults and load for which a run's verdict is meaningful. A run without faults finds nothing
//! broken.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::{Happened, POISON, TRANSACTION, WIRE_RECORDS};
use crate::figures::Figures;
use crate::plan::{Fault, OUTLASTS_RETRIES, Plan, WHOLE};

/// The minimum of events accepted after all faults, and of reads answered after all events: a load that
/// died earlier has none.
pub const AT_LAST: usize = 20;

/// The minimum load of two minutes: at most a fifth of the slowest valid run, which was one of several at
/// once on two cores that also compiled. An idle machine does three times as much as that run.
const TWO_MINUTES: Figures = Figures {
    accepted: 2_000,
    accepted_at_last: AT_LAST,
    duplicates: 100,
    batches: 400,
    partial_batches: 50,
    failed_posts: 40,
    records: 2_000,
    rows: 2_000,
    assignments: 6,
    commits: 30,
    reads: 2_500,
    reads_at_last: AT_LAST,
    strict_reads: 1_000,
    cached: 8,
    ads_accepted: 500,
    ads_at_last: AT_LAST,
    ads_repeated: 40,
    ads_capped: 5,
    ads_exhausted: 20,
    ads_unavailable: 20,
    campaigns: 8,
    patches: 20,
    books: 40,
    reports: 300,
    strict_reports: 100,
    probes_accepted: 3,
    commands: 250,
    commands_at_last: AT_LAST,
    arrays: 20,
    replayed: 20,
    commands_refused: 40,
    commands_stale: 15,
    keys_reused: 5,
    commands_unknown: 3,
    commands_failed: 40,
    domain_records: 500,
    taken: 700,
    file_reads: 400,
    file_revisions: 50,
    video_reads: 400,
    validations: 20,
    findings: 200,
    ..Figures::NONE
};

/// The minimum of each figure. Figures of the load are proportional to the length and pace of the run, figures of
/// faults to the number of faults in the plan.
pub fn figures(plan: &Plan) -> Figures {
    // A short run has a fault of Redis or PostgreSQL all the time: campaigns take few events, and caps are proven some
    // fifteen seconds after a fault.
    let is_short = plan.length < Duration::from_secs(60);
    let in_time = |of_two_minutes: usize| {
        let share = of_two_minutes as u128 * plan.length.as_millis() / WHOLE.as_millis();
        usize::try_from(share).unwrap_or(usize::MAX).max(1)
    };
    let share = |of_two_minutes| (in_time(of_two_minutes) / plan.pace as usize).max(1);
    let steps = |fault| plan.steps.iter().filter(move |step| step.fault == fault);
    let given_up = steps(Fault::RefuseDevices).filter(|step| step.lasts >= OUTLASTS_RETRIES).count();
    let half = |fault| steps(fault).count().div_ceil(2);
    let poison = POISON * (half(Fault::Poison) + half(Fault::RefuseLetters));
    Figures {
        accepted: share(TWO_MINUTES.accepted),
        accepted_at_last: TWO_MINUTES.accepted_at_last,
        duplicates: share(TWO_MINUTES.duplicates),
        batches: share(TWO_MINUTES.batches),
        partial_batches: share(TWO_MINUTES.partial_batches),
        failed_posts: if plan.is_part { 0 } else { share(TWO_MINUTES.failed_posts) },
        records: share(TWO_MINUTES.records),
        records_in_added_partitions: half(Fault::AddPartitions),
        rows: share(TWO_MINUTES.rows),
        refusals: half(Fault::RefuseDevices),
        dead_letters: poison + WIRE_RECORDS * half(Fault::WireRecords) + given_up,
        refused_letters: given_up,
        committed_events: TRANSACTION * half(Fault::Transactions),
        aborted_events: TRANSACTION * half(Fault::Transactions),
        assignments: TWO_MINUTES.assignments,
        commits: in_time(TWO_MINUTES.commits),
        reads: share(TWO_MINUTES.reads),
        reads_at_last: TWO_MINUTES.reads_at_last,
        strict_reads: share(TWO_MINUTES.strict_reads),
        cached: TWO_MINUTES.cached,
        ads_accepted: share(TWO_MINUTES.ads_accepted),
        ads_at_last: TWO_MINUTES.ads_at_last,
        ads_repeated: share(TWO_MINUTES.ads_repeated),
        ads_capped: if is_short { 0 } else { share(TWO_MINUTES.ads_capped) },
        ads_exhausted: if is_short { 0 } else { share(TWO_MINUTES.ads_exhausted) },
        ads_unavailable: if plan.is_part { 0 } else { share(TWO_MINUTES.ads_unavailable) },
        campaigns: TWO_MINUTES.campaigns + half(Fault::Midnight),
        midnights: half(Fault::Midnight),
        patches: share(TWO_MINUTES.patches),
        patches_refused: half(Fault::PatchBudget),
        books: in_time(TWO_MINUTES.books),
        reports: share(TWO_MINUTES.reports),
        strict_reports: share(TWO_MINUTES.strict_reports),
        probes_accepted: TWO_MINUTES.probes_accepted,
        commands: share(TWO_MINUTES.commands),
        commands_at_last: TWO_MINUTES.commands_at_last,
        arrays: share(TWO_MINUTES.arrays),
        replayed: share(TWO_MINUTES.replayed),
        commands_refused: share(TWO_MINUTES.commands_refused),
        commands_stale: share(TWO_MINUTES.commands_stale),
        keys_reused: share(TWO_MINUTES.keys_reused),
        commands_unknown: if plan.is_part { 0 } else { share(TWO_MINUTES.commands_unknown) },
        commands_failed: if plan.is_part { 0 } else { share(TWO_MINUTES.commands_failed) },
        domain_records: share(TWO_MINUTES.domain_records),
        reconciled: half(Fault::KillRelay),
        taken: share(TWO_MINUTES.taken),
        file_reads: share(TWO_MINUTES.file_reads),
        file_revisions: share(TWO_MINUTES.file_revisions),
        video_reads: share(TWO_MINUTES.video_reads),
        validations: share(TWO_MINUTES.validations),
        findings: share(TWO_MINUTES.findings),
        ..Figures::NONE
    }
}

/// The minimum count of each kind of fault: half of the plan's count, and at least one in every two
/// minutes whatever the plan says.
pub fn faults(plan: &Plan) -> BTreeMap<Fault, usize> {
    let mut least = plan.times();
    least.values_mut().for_each(|times| *times = times.div_ceil(2));
    if !plan.is_part {
        let whole = usize::try_from(plan.length.as_secs() / WHOLE.as_secs()).unwrap_or(usize::MAX);
        for kind in Fault::drawn() {
            let times = least.entry(kind).or_default();
            *times = whole.max(*times);
        }
    }
    least.retain(|_, times| *times > 0);
    least
}

/// The faults and figures below the minimum; a run with any of them is void.
pub fn fell_short(plan: &Plan, happened: &[Happened], counted: &Figures) -> Vec<String> {
    let faults = faults(plan).into_iter().filter_map(|(kind, least)| {
        let (missed, done): (Vec<_>, Vec<_>) = happened
            .iter()
            .filter(|happened| happened.step.fault == kind)
            .partition(|happened| happened.missed.is_some());
        let why: Vec<_> = missed.into_iter().filter_map(|happened| happened.missed.as_deref()).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        (done.len() < least).then(|| format!("{}: {} times of at least {least}{why}", kind.name(), done.len()))
    });
    let mut of = "";
    let figures = counted.rows().into_iter().zip(figures(plan).rows()).filter_map(|((name, count), (_, least))| {
        let part = name.strip_prefix("  ");
        of = if part.is_some() { of } else { name };
        let name = part.map_or_else(|| name.to_owned(), |part| format!("{of}, {part}"));
        (count < least).then(|| format!("{name}: {count} of at least {least}"))
    });
    faults.chain(figures).collect()
}

#[cfg(test)]
mod tests;
