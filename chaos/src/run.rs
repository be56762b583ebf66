//! One run: load, faults, the wait until the workers are idle, the verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::faults::Happened;
use crate::figures::Figures;
use crate::history::{Span, file};
use crate::load::{Counts, Load, lock};
use crate::plan::{Plan, Target};
use crate::report::Report;
use crate::world::{ASSIGNED, NOTHING_FOUND, RELAY, World};
use crate::{checker, faults, gather, least};

/// How long after the last event all leases are closed: they end within 10 s, and are closed 7 s later.
const LEASES_CLOSED: Duration = Duration::from_secs(20);
/// The interval of the progress lines.
const PROGRESS: Duration = Duration::from_secs(5);
/// The timeout for events to be accepted again after the last fault.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long the readers continue after the last allowance for stale reads has ended.
const AFTERWARDS: Duration = Duration::from_secs(2);

pub fn history_file(out: &Path, seed: u64) -> PathBuf {
    out.join(format!("history-{seed}.jsonl.gz"))
}

pub fn logs(out: &Path, seed: u64) -> PathBuf {
    out.join(format!("{seed}-{}", std::process::id()))
}

/// Executes a plan. This folder gets its [history](history_file) and the [logs] of its services; the logs are
/// deleted if the run [holds](Report::holds).
///
/// # Errors
/// The run could not be completed: there is no verdict, and the logs stay.
pub async fn run(plan: &Plan, out: &Path) -> anyhow::Result<Report> {
    let logs = logs(out, plan.seed);
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let history = history_file(out, plan.seed);
    let report = run_in(plan, &logs, &history).await.with_context(|| format!("see {}", logs.display()))?;
    if report.holds() {
        std::fs::remove_dir_all(&logs)?;
    }
    Ok(report)
}

async fn run_in(plan: &Plan, logs: &Path, history_file: &Path) -> anyhow::Result<Report> {
    let folder = logs.to_owned();
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&folder)).await??);
    let mut load = Load::start(&world, plan)?;
    let happened = break_things(plan, &world, &load).await?;

    let counts = Arc::clone(&load.counts);
    let accepted =
        || [&counts.accepted, &counts.ads_accepted, &counts.commands].map(|counter| counter.load(Ordering::Relaxed));
    let [devices_before, ads_before, commands_before] = accepted();
    if let Some(before) = plan.cut_at_last {
        cut_redis_at_last(&world, &mut load, before).await?;
    } else {
        end_sending(&mut load).await?;
    }
    let [devices, ads, commands] = accepted();
    let reads = counts.reads.load(Ordering::Relaxed);
    say(&load, "all events are sent");
    let quiet = Arc::clone(&world);
    tokio::task::spawn_blocking(move || gather::until_quiet(&quiet)).await??;
    world.tend()?;
    say(&load, "all of them had their effect");
    // By then every lease is closed.
    tokio::time::sleep(LEASES_CLOSED).await;
    load.probe().await?;
    let quiet = Arc::clone(&world);
    let left = tokio::task::spawn_blocking(move || gather::until_quiet(&quiet)).await??;
    say(&load, "each campaign took one more");
    let quiet = Arc::clone(&world);
    tokio::task::spawn_blocking(move || gather::until_nothing_is_reserved(&quiet, 2 * LEASES_CLOSED)).await??;
    // Readers continue until no stale read is excused any more, and leave a full cache behind.
    let excused_until = checker::excused_until(&lock(&load.history)).max(load.elapsed());
    tokio::time::sleep(excused_until.saturating_sub(load.elapsed()) + AFTERWARDS).await;
    say(&load, "no read is excused any more");
    let history = load.end().await?;
    let end = gather::gather(&world, &gather::store(&world)?, left).await?;
    world.tend()?;
    file::save(history_file, history, end)?;
    // Check the saved file, so that checking it again gives the same result.
    let (history, end) = file::load(history_file)?;
    let verdict = checker::check(&history, &end);
    let figures = Figures {
        refusals: faults::refusals(&world)?,
        accepted_at_last: devices - devices_before,
        ads_at_last: ads - ads_before,
        commands_at_last: commands - commands_before,
        reads_at_last: history.reads.len() - reads,
        assignments: in_logs(logs, ASSIGNED)?.len(),
        reconciled: in_logs(logs, RELAY)?.iter().filter(|line| !line.contains(NOTHING_FOUND)).count(),
        ..Figures::of(&history, &end, &verdict, &counts)
    };
    Ok(Report {
        seed: plan.seed,
        seconds: plan.length.as_secs_f64(),
        real_disk: world.disk.is_some(),
        planned: plan.steps.clone(),
        least: least::figures(plan),
        fell_short: least::fell_short(plan, &happened, &figures),
        happened,
        figures,
        ended: world.ended(),
        panics: in_logs(logs, "panicked at")?,
        broken: verdict.broken,
    })
}

async fn break_things(plan: &Plan, world: &Arc<World>, load: &Load) -> anyhow::Result<Vec<Happened>> {
    let began = Instant::now().checked_sub(load.elapsed()).context("the clock began after the load")?;
    let mut under_way = Vec::new();
    let mut said = Instant::now();
    let mut steps = plan.steps.iter().copied().peekable();
    while load.elapsed() < plan.length || steps.peek().is_some() {
        if let Some(step) = steps.next_if(|step| step.at <= load.elapsed()) {
            say(load, &step.to_string());
            let (world, history) = (Arc::clone(world), Arc::clone(&load.history));
            let happening = tokio::task::spawn_blocking(move || faults::happen(step, &world, &history, began));
            under_way.push((step, happening));
        }
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            world.tend()?;
            let Counts { accepted, failed, reads, ads_accepted, reports, commands, placement_reads, .. } =
                &*load.counts;
            let counters = [accepted, failed, reads, ads_accepted, reports, commands, placement_reads];
            let [accepted, failed, reads, ads, reports, commands, files] =
                counters.map(|counter| counter.load(Ordering::Relaxed));
            let devices = format!("{accepted} accepted, {failed} failed posts, {reads} reads");
            let placements = format!("{commands} commands, {files} reads of placements");
            say(load, &format!("{devices}; {ads} ad events, {reports} reports; {placements}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut happened = Vec::new();
    for (step, happening) in under_way {
        happened.push(happening.await?.with_context(|| step.to_string())?);
    }
    world.tend()?;
    Ok(happened)
}

/// Stops the devices once some of their events were accepted after the last fault.
async fn end_sending(load: &mut Load) -> anyhow::Result<()> {
    let accepted = |load: &Load| {
        let Counts { accepted, ads_accepted, commands, .. } = &*load.counts;
        [accepted, ads_accepted, commands].map(|it| it.load(Ordering::Relaxed))
    };
    let (before, deadline) = (accepted(load), Instant::now() + RECOVERY);
    let is_enough =
        |load: &Load| accepted(load).iter().zip(before).all(|(now, before)| *now >= before + least::AT_LAST);
    while !is_enough(load) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.end_sending().await
}

/// Stops the devices while the workers cannot reach Redis: no later event's fence then makes up for a deferred
/// fence that is never sent.
async fn cut_redis_at_last(world: &World, load: &mut Load, before: Duration) -> anyhow::Result<()> {
    let target = Target::Workers;
    let from = load.elapsed();
    say(load, &format!("cut-redis ({target}), at last"));
    world.proxies_of(target).for_each(|proxies| proxies.redis.cut());
    tokio::time::sleep(before).await;
    end_sending(load).await?;
    tokio::time::sleep(before).await;
    world.proxies_of(target).for_each(|proxies| proxies.redis.mend());
    lock(&load.history).redis_away.push(Span { from, to: load.elapsed() });
    Ok(())
}

fn say(load: &Load, what: &str) {
    println!("{:>6.1} s  {what}", load.elapsed().as_secs_f64());
}

/// The lines of all service logs that contain this text.
fn in_logs(folder: &Path, text: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // The store of files is there, too.
        if !path.is_file() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let log = std::fs::read(&path)?;
        let log = String::from_utf8_lossy(&log);
        found.extend(log.lines().filter(|line| line.contains(text)).map(|line| format!("{name}: {line}")));
    }
    Ok(found)
}
