//! `make chaos`: one run, a table, a verdict.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::checker::{self, Broken};
use chaos::history::file;
use chaos::plan::{Fault, Plan};
use chaos::run;
use clap::{Args, Parser, Subcommand};

/// Injects faults while load runs, and checks that no event was lost or applied twice and no read was stale.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Settings {
    #[command(flatten)]
    run: RunSettings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct RunSettings {
    /// The duration of the load, in seconds.
    #[arg(long, env = "CHAOS_SECONDS", default_value_t = 120)]
    seconds: u64,
    /// The seed of the schedule; a random one by default.
    #[arg(long, env = "CHAOS_SEED")]
    seed: Option<u64>,
    /// Runs the fixed schedule of `make test`, which has each kind of fault once and its own duration.
    #[arg(long)]
    by_hand: bool,
    /// Runs only these faults of the schedule, to see what one of them does.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Fault>,
    /// The folder for report, history and logs; `target/chaos` by default. Runs side by side need one each.
    #[arg(long, env = "CHAOS_OUT")]
    out: Option<PathBuf>,
}

impl RunSettings {
    fn plan(&self) -> anyhow::Result<Plan> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
        let plan = if self.by_hand {
            Plan { seed, ..Plan::by_hand() }
        } else {
            Plan::drawn(seed, Duration::from_secs(self.seconds))
        };
        let times = plan.times();
        for fault in &self.only {
            let is_at_last = *fault == Fault::CutRedis && plan.cut_at_last.is_some();
            // A run without the fault would pass and prove nothing.
            anyhow::ensure!(
                times.contains_key(fault) || is_at_last,
                "the schedule of seed {seed} has no {}: choose another --seed, or more --seconds",
                fault.name()
            );
        }
        Ok(plan.only(&self.only))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints a seed's schedule, and runs nothing.
    Plan(RunSettings),
    /// Judges saved histories again (`history-SEED.jsonl.gz`, beside the report of its run).
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Settings { run, command } = Settings::parse();
    let holds = match command {
        None => carry_out(run).await?,
        Some(Command::Plan(settings)) => {
            print!("{}", settings.plan()?);
            true
        }
        Some(Command::Check { files }) => check(&files)?,
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn carry_out(settings: RunSettings) -> anyhow::Result<bool> {
    let plan = settings.plan()?;
    println!("CHAOS_SEED={} CHAOS_SECONDS={}", plan.seed, plan.length.as_secs());
    let out = settings.out.unwrap_or_else(|| devstack::target_dir().join("chaos"));
    let report = run::run(&plan, &out).await?;
    println!("{}", report.table(&plan));
    let file = out.join("report.json");
    report.write(&file)?;
    println!("report: {}\nhistory: {}", file.display(), run::history_file(&out, plan.seed).display());
    tell(&report.broken);
    for line in report.ended.iter().chain(&report.panics).take(20) {
        println!("{line}");
    }
    if !report.holds() {
        println!("logs: {}", run::logs(&out, plan.seed).display());
    }
    Ok(report.holds())
}

fn check(files: &[PathBuf]) -> anyhow::Result<bool> {
    let mut holds = true;
    for path in files {
        let (history, end) = file::load(path)?;
        let verdict = checker::check(&history, &end);
        let reads = history.reads.len() + history.ads.reports.len();
        let (excused, broken) = (verdict.reads.excused + verdict.reports.excused, verdict.broken.len());
        println!("{}: {reads} reads, of which {excused} are excused; broken {broken} times", path.display());
        tell(&verdict.broken);
        holds &= verdict.broken.is_empty();
    }
    Ok(holds)
}

/// Prints the first violation of each promise per device or campaign, at most 20.
fn tell(broken: &[Broken]) {
    let mut met = BTreeSet::new();
    for broken in broken.iter().filter(|broken| met.insert((broken.of(), &broken.device))).take(20) {
        println!("promise {} broken, {}: {}", broken.of(), broken.device, broken.what);
    }
}
