//! `make chaos`: one run, a table, a verdict.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use chaos::plan::Fault;
use clap::Parser;

/// Breaks what can be broken while load runs, and checks that nothing was lost, doubled or stale.
#[derive(Debug, Parser)]
struct Settings {
    /// How long.
    #[arg(long, env = "CHAOS_SECONDS", default_value_t = 120)]
    seconds: u64,
    /// What the schedule is made from; by chance where it is not given.
    #[arg(long, env = "CHAOS_SEED")]
    seed: Option<u64>,
    /// Of the schedule, these faults alone, to see what one of them does.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Fault>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={}", settings.seconds);
    let folder = devstack::target_dir().join("chaos");
    let report = chaos::run::run(seed, Duration::from_secs(settings.seconds), &settings.only, &folder).await?;
    println!("{}", report.table());
    let file = folder.join("report.json");
    report.write(&file)?;
    println!("report: {}", file.display());
    // The first of each kind that a device met.
    let mut met = BTreeSet::new();
    for broken in report.broken.iter().filter(|broken| met.insert((broken.promise, &broken.device))).take(20) {
        println!("promise {} broken, {}: {}", broken.promise, broken.device, broken.what);
    }
    for line in report.ended.iter().chain(&report.panics).take(20) {
        println!("{line}");
    }
    if report.holds() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "logs, and the histories of the devices: {}",
        folder.join(format!("{seed}-{}", std::process::id())).display()
    );
    Ok(ExitCode::FAILURE)
}
