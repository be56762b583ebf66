//! One run: load, faults, quiet, verdict.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::checker::Broken;
use crate::faults::FENCES_SENT;
use crate::history::{End, History};
use crate::load::{Counts, Load};
use crate::plan::{Fault, Step, plan};
use crate::report::Report;
use crate::world::{TTL, World};
use crate::{checker, faults, gather};

/// How often a line says how it goes.
const PROGRESS: Duration = Duration::from_secs(5);

/// Runs a seed's schedule, or what it has of some faults only, with a folder of its own in this one for what the services write. The folder goes if every
/// promise held; else the history of every device for which one broke is written there too.
///
/// # Errors
/// The run could not be carried out: it says nothing then, and the folder stays.
pub async fn run(seed: u64, length: Duration, only: &[Fault], root: &Path) -> anyhow::Result<Report> {
    let folder = root.join(format!("{seed}-{}", std::process::id()));
    let mut steps = plan(seed, length);
    steps.retain(|step| only.is_empty() || only.contains(&step.fault));
    let report = run_in(seed, length, steps, &folder).await.with_context(|| format!("see {}", folder.display()))?;
    if report.broken.is_empty() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(report)
}

async fn run_in(seed: u64, length: Duration, steps: Vec<Step>, folder: &Path) -> anyhow::Result<Report> {
    std::fs::create_dir_all(folder)?;
    let logs = folder.to_owned();
    let world = Arc::new(tokio::task::spawn_blocking(move || World::start(&logs)).await??);
    let mut load = Load::start(&world, seed)?;
    let restarts = break_things(&steps, &world, &load, length, seed).await?;

    let counts = Arc::clone(&load.counts);
    load.end_sending().await?;
    let quiet = Arc::clone(&world);
    let left = tokio::task::spawn_blocking(move || gather::until_quiet(&quiet)).await??;
    // Readers go on until nothing excuses an old answer any more, and leave a full cache behind.
    tokio::time::sleep(FENCES_SENT + TTL + Duration::from_secs(1)).await;
    let history = load.end().await?;
    let end = gather::gather(&world, &gather::store(&world)?, left).await?;
    let broken = checker::check(&history, &end);
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
        reads: count(&counts.reads),
        excused_reads: checker::excused(&history),
        records: end.log.len(),
        rows: end.rows.len(),
        superseded: end.rows.iter().filter(|row| !row.applied).count(),
        dead_letters: end.letters.len(),
        refused_letters: end.letters.iter().filter(|letter| letter.reason == "failed").count(),
        cached: end.cached.len(),
        assignments: in_logs(folder, r#""message":"assigned""#)?,
        restarts,
        panics: in_logs(folder, "panicked at")?,
        broken,
    })
}

/// All that is known of each device for which a promise broke.
fn write_histories(broken: &[Broken], history: &History, end: &End, folder: &Path) -> anyhow::Result<()> {
    let devices: BTreeSet<&str> = broken.iter().map(|broken| broken.device.as_str()).collect();
    for device in devices {
        let of_device = serde_json::json!({
            "sent": history.sent.get(device),
            "log": end.log.iter().filter(|record| record.device == device).collect::<Vec<_>>(),
            "rows": end.rows.iter().filter(|row| row.device == device).collect::<Vec<_>>(),
            "resource": end.resources.get(device),
            "cached": end.cached.get(device),
            "reads": history.reads.iter().filter(|read| read.device == device).collect::<Vec<_>>(),
            "letters": end.letters.iter().filter(|letter| letter.key == device).collect::<Vec<_>>(),
            "commits": history.commits, "redis_away": history.redis_away,
        });
        std::fs::write(folder.join(format!("broken-{device}.json")), serde_json::to_vec_pretty(&of_device)?)?;
    }
    Ok(())
}

/// Tells how many services ended by themselves, and were started again.
async fn break_things(
    steps: &[Step],
    world: &Arc<World>,
    load: &Load,
    length: Duration,
    seed: u64,
) -> anyhow::Result<usize> {
    let began = Instant::now().checked_sub(load.elapsed()).context("the clock began after the load")?;
    let mut random = fastrand::Rng::with_seed(!seed);
    let mut under_way = Vec::new();
    let mut said = Instant::now();
    let mut restarts = 0;
    let mut steps = steps.iter().copied().peekable();
    while load.elapsed() < length || steps.peek().is_some() {
        if let Some(step) = steps.next_if(|step| step.at <= load.elapsed()) {
            println!("{:>6.1} s  {}", load.elapsed().as_secs_f64(), step.fault.name());
            let (world, history, choice) = (Arc::clone(world), Arc::clone(&load.history), random.usize(..1_000));
            let happening = tokio::task::spawn_blocking(move || faults::happen(step, &world, &history, began, choice));
            under_way.push((step.fault, happening));
        }
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            restarts += world.tend()?;
            progress(load.elapsed(), &load.counts);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (fault, happening) in under_way {
        happening.await?.with_context(|| fault.name())?;
    }
    Ok(restarts + world.tend()?)
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

/// How often something stands in what the services wrote.
fn in_logs(folder: &Path, text: &str) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let log = std::fs::read(entry?.path())?;
        count += String::from_utf8_lossy(&log).matches(text).count();
    }
    Ok(count)
}
