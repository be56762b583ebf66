//! The schedule of a run: drawn from a seed, or written by hand. Pure: the same seed and length give the
//! same schedule.

mod by_hand;
mod fault;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

pub use self::fault::{APIS, Fault, Target, Turn, WORKER_PROXIES};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    pub fault: Fault,
    /// When it begins, or when it begins to wait for its turn because its server has another fault.
    pub at: Duration,
    pub lasts: Duration,
    /// The services it affects, if it is a fault of the connection to a server.
    pub target: Target,
    /// A random number that selects one of several targets.
    pub choice: usize,
}

impl Step {
    fn draw(fault: Fault, at: Duration, lasts: Duration, random: &mut Rng) -> Self {
        Self { fault, at, lasts, target: Target::draw(random), choice: random.usize(..1_000) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.name())?;
        if self.fault.has_target() { write!(f, " ({})", self.target) } else { Ok(()) }
    }
}

/// The time without faults at the start.
const WARM: Duration = Duration::from_secs(3);
/// Longer than all attempts of a failing event with the delays between them.
pub const OUTLASTS_RETRIES: Duration = Duration::from_secs(20);
/// How far back PostgreSQL is restored.
const RESTORED: Duration = Duration::from_secs(8);
/// How long PostgreSQL's name resolves to the standby before the failover.
const FAILS_OVER: Duration = Duration::from_secs(3);
/// Long enough for events to have their effects while Redis is away.
const CUT_AT_LAST: Duration = Duration::from_secs(2);
/// The minimum length of a run with an outage longer than all retries.
const LONG: Duration = Duration::from_secs(60);
/// A run of this length has every recurring kind of fault.
pub const WHOLE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed of the schedule, and of the random choices of devices and readers.
    pub seed: u64,
    /// The minimum duration of the load.
    pub length: Duration,
    /// Ordered by start.
    pub steps: Vec<Step>,
    /// How long Redis is cut off from the workers before the devices stop, and again after that.
    pub cut_at_last: Option<Duration>,
    /// The factor by which devices and readers pause longer than usual.
    pub pace: u32,
    /// Whether kinds of faults were left out.
    pub is_part: bool,
}

impl Plan {
    /// The schedule of a seed for a run of this length: each kind of fault occurs before any is repeated, and
    /// the last ones end with the run.
    pub fn drawn(seed: u64, length: Duration) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut steps = Vec::new();
        let mut bag: Vec<Fault> = Vec::new();
        let mut at = WARM;
        while at < length {
            if bag.is_empty() {
                bag = Fault::drawn();
                random.shuffle(&mut bag);
            }
            let Some(fault) = bag.pop() else { break };
            let lasts = Duration::from_millis(random.u64(300..6_000)).min(length.saturating_sub(at));
            steps.push(Step::draw(fault, at, lasts, &mut random));
            // A fault sometimes begins before the previous one is over.
            at += Duration::from_millis(random.u64(500..3_800));
        }
        let somewhere =
            |random: &mut Rng, lasts: Duration| WARM + length.saturating_sub(WARM + lasts).mul_f64(random.f64() * 0.75);
        if length >= LONG {
            let at = somewhere(&mut random, OUTLASTS_RETRIES);
            steps.push(Step::draw(Fault::LosePostgres, at, OUTLASTS_RETRIES, &mut random));
            let at = somewhere(&mut random, FAILS_OVER);
            steps.push(Step::draw(Fault::FailOverPostgres, at, FAILS_OVER, &mut random));
            // The refusal has two phases of about this length: first during other faults, then without.
            let at = somewhere(&mut random, OUTLASTS_RETRIES * 2);
            steps.push(Step::draw(Fault::RefuseDevices, at, OUTLASTS_RETRIES, &mut random));
        }
        if length >= WHOLE {
            let at = somewhere(&mut random, RESTORED);
            steps.push(Step::draw(Fault::RestorePostgres, at, RESTORED, &mut random));
        }
        // Only in half of the runs.
        if random.bool() {
            let at = somewhere(&mut random, Duration::ZERO);
            steps.push(Step::draw(Fault::AddPartitions, at, Duration::ZERO, &mut random));
        }
        steps.sort_by_key(|step| step.at);
        Self { seed, length, steps, cut_at_last: Some(CUT_AT_LAST), pace: 1, is_part: false }
    }

    pub fn times(&self) -> BTreeMap<Fault, usize> {
        let mut times: BTreeMap<Fault, usize> = BTreeMap::new();
        for step in &self.steps {
            *times.entry(step.fault).or_default() += 1;
        }
        times
    }

    /// The plan with these faults only; unchanged if the list is empty.
    pub fn only(mut self, faults: &[Fault]) -> Self {
        if !faults.is_empty() {
            self.steps.retain(|step| faults.contains(&step.fault));
            self.cut_at_last = self.cut_at_last.filter(|_| faults.contains(&Fault::CutRedis));
            self.is_part = true;
        }
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let Step { at, lasts, fault, choice, .. } = step;
            write!(f, "{:>8.3} s  {step}", at.as_secs_f64())?;
            let lasts = if fault.lasts() { format!(", for {:.3} s", lasts.as_secs_f64()) } else { String::new() };
            writeln!(f, "{lasts}, choice {choice}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
