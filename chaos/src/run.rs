//! One run: load, faults, quiet, verdict.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::checker::{Broken, Verdict};
use crate::history::{End, History, Record};
use crate::load::{Counts, Load, lock};
use crate::plan::{Fault, Step, Whom, plan};
use crate::report::Report;
use crate::world::World;
use crate::{checker, faults, gather};

/// How often a line says how it goes.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long Redis is away at last before the devices end, and how long after.
const CUT_AT_LAST: Duration = Duration::from_secs(2);
/// How long readers go on when no read is excused any more.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Of a partition that stands still, so many records before that point are written down.
const BEFORE: i64 = 20;

/// Runs a seed's schedule, or what it has of some faults only, with a folder of its own in this one for what the services write. The folder goes if every
/// promise held and no service panicked or ended by itself; else the history of every device for which one broke is written there too.
///
/// # Errors
/// The run could not be carried out: it says nothing then, and the folder stays.
pub async fn run(seed: u64, length: Duration, only: &[Fault], root: &Path) -> anyhow::Result<Report> {
    let folder = root.join(format!("{seed}-{}", std::process::id()));
    let mut steps = plan(seed, length);
    steps.retain(|step| only.is_empty() || only.contains(&step.fault));
    let cut_at_last = only.is_empty() || only.contains(&Fault::CutRedis);
    let report =
        run_in(seed, length, steps, cut_at_last, &folder).await.with_context(|| format!("see {}", folder.display()))?;
    if report.holds() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(report)
}

async fn run_in(
    seed: u64,
    length: Duration,
    mut steps: Vec<Step>,
    cut_at_last: bool,
    folder: &Path,
) -> anyhow::Result<Report> {
    std::fs::create_dir_all(folder)?;
    let logs = folder.to_owned();
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&logs)).await??);
    let mut load = Load::start(&world, seed)?;
    break_things(&steps, &world, &load, length).await?;

    let counts = Arc::clone(&load.counts);
    if cut_at_last {
        steps.push(cut_redis_at_last(&world, &mut load).await?);
    } else {
        load.end_sending().await?;
    }
    let quiet = Arc::clone(&world);
    let left = tokio::task::spawn_blocking(move || gather::until_quiet(&quiet)).await??;
    world.tend()?;
    // Readers go on until nothing excuses an old answer any more, and leave a full cache behind.
    let excused_until = checker::excused_until(&lock(&load.history)).max(load.elapsed());
    tokio::time::sleep(excused_until.saturating_sub(load.elapsed()) + AFTERWARDS).await;
    let history = load.end().await?;
    let end = gather::gather(&world, &gather::store(&world)?, left).await?;
    world.tend()?;
    let Verdict { broken, excused } = checker::check(&history, &end);
    write_histories(&broken, &history, &end, folder)?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Report {
        seed,
        seconds: length.as_secs(),
        real_disk: world.disk.is_some(),
        faults: steps,
        accepted: count(&counts.accepted),
        batches: count(&counts.batches),
        partial_batches: count(&counts.partial),
        duplicates: count(&counts.duplicates),
        failed_posts: count(&counts.failed),
        reads: history.reads.len(),
        strict_reads: history.reads.len() - excused,
        excused_reads: excused,
        records: end.log.len(),
        rows: end.rows.len(),
        superseded: end.rows.iter().filter(|row| !row.applied).count(),
        dead_letters: end.letters.len(),
        refused_letters: end.letters.iter().filter(|letter| letter.reason == "failed").count(),
        cached: end.cached.len(),
        assignments: in_logs(folder, r#""message":"assigned""#)?.len(),
        ended: world.ended(),
        panics: in_logs(folder, "panicked at")?,
        broken,
    })
}

/// All that is known of each device for which a promise broke, and, where it broke for none, of the
/// partitions that stand still and of what is no event.
fn write_histories(broken: &[Broken], history: &History, end: &End, folder: &Path) -> anyhow::Result<()> {
    let devices: BTreeSet<&str> = broken.iter().map(|broken| broken.device.as_str()).collect();
    for device in devices {
        if device.is_empty() {
            write_history(folder, "log", &of_no_device(history, end))?;
            continue;
        }
        let of_device = serde_json::json!({
            "sent": history.sent.get(device),
            "log": end.log.iter().filter(|record| record.device == device).collect::<Vec<_>>(),
            "rows": end.rows.iter().filter(|row| row.device == device).collect::<Vec<_>>(),
            "resource": end.resources.get(device),
            "cached": end.cached.get(device),
            "reads": history.reads.iter().filter(|read| read.device == device).collect::<Vec<_>>(),
            "letters": end.letters.iter().filter(|letter| letter.key == device).collect::<Vec<_>>(),
            "commits": history.commits,
            "redis_away": history.redis_away,
            "postgres_away": history.postgres_away,
            "workers_away": history.workers_away,
        });
        write_history(folder, device, &of_device)?;
    }
    Ok(())
}

fn of_no_device(history: &History, end: &End) -> serde_json::Value {
    let stands_still = |record: &Record| {
        end.left.get(&record.partition).is_some_and(|(committed, _)| record.offset + BEFORE >= *committed)
    };
    let in_question = |record: &&Record| record.id.is_none() || stands_still(record);
    serde_json::json!({
        "left": end.left,
        "log": end.log.iter().filter(in_question).collect::<Vec<_>>(),
        "rows": end.rows.iter().filter(|row| end.left.contains_key(&row.partition)).collect::<Vec<_>>(),
        "poison": history.poison,
        "letters": end.letters,
        "commits": history.commits,
    })
}

fn write_history(folder: &Path, name: &str, history: &serde_json::Value) -> anyhow::Result<()> {
    Ok(std::fs::write(folder.join(format!("broken-{name}.json")), serde_json::to_vec_pretty(history)?)?)
}

async fn break_things(steps: &[Step], world: &Arc<World>, load: &Load, length: Duration) -> anyhow::Result<()> {
    let began = Instant::now().checked_sub(load.elapsed()).context("the clock began after the load")?;
    let mut under_way = Vec::new();
    let mut said = Instant::now();
    let mut steps = steps.iter().copied().peekable();
    while load.elapsed() < length || steps.peek().is_some() {
        if let Some(step) = steps.next_if(|step| step.at <= load.elapsed()) {
            println!("{:>6.1} s  {step}", load.elapsed().as_secs_f64());
            let (world, history) = (Arc::clone(world), Arc::clone(&load.history));
            let happening = tokio::task::spawn_blocking(move || faults::happen(step, &world, &history, began));
            under_way.push((step, happening));
        }
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            world.tend()?;
            progress(load.elapsed(), &load.counts);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (step, happening) in under_way {
        happening.await?.with_context(|| step.to_string())?;
    }
    world.tend()
}

/// Ends the devices while Redis is away from the workers: no event comes behind theirs whose fence
/// would make up for one that was put off and is never sent.
async fn cut_redis_at_last(world: &World, load: &mut Load) -> anyhow::Result<Step> {
    let whom = Whom::Workers;
    let step = Step { fault: Fault::CutRedis, at: load.elapsed(), lasts: 2 * CUT_AT_LAST, whom, choice: 0 };
    println!("{:>6.1} s  {step}, at last", step.at.as_secs_f64());
    let index = {
        let mut history = lock(&load.history);
        history.redis_away.push((step.at, Duration::MAX / 2));
        history.redis_away.len() - 1
    };
    world.ways_of(whom).for_each(|way| way.redis.cut());
    tokio::time::sleep(CUT_AT_LAST).await;
    load.end_sending().await?;
    tokio::time::sleep(CUT_AT_LAST).await;
    world.ways_of(whom).for_each(|way| way.redis.mend());
    if let Some(span) = lock(&load.history).redis_away.get_mut(index) {
        span.1 = load.elapsed();
    }
    Ok(step)
}

fn progress(elapsed: Duration, counts: &Counts) {
    println!(
        "{:>6.1} s  {} accepted, {} failed posts, {} reads",
        elapsed.as_secs_f64(),
        counts.accepted.load(Ordering::Relaxed),
        counts.failed.load(Ordering::Relaxed),
        counts.reads.load(Ordering::Relaxed)
    );
}

/// The lines that have something in them, of all that the services wrote.
fn in_logs(folder: &Path, text: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let log = std::fs::read(&path)?;
        let log = String::from_utf8_lossy(&log);
        found.extend(log.lines().filter(|line| line.contains(text)).map(|line| format!("{name}: {line}")));
    }
    Ok(found)
}
