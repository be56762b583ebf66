//! What is to happen when: the schedule of a seed, or the one that is written by hand. Pure: the same
//! seed and the same length are the same schedule.

mod by_hand;
mod fault;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

pub use self::fault::{APIS, Fault, Turn, WORKERS_WAYS, Whom};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    pub fault: Fault,
    /// When it begins, or begins to wait until nothing else is wrong with its server.
    pub at: Duration,
    pub lasts: Duration,
    /// Whom it concerns, where it happens between services and a server.
    pub whom: Whom,
    /// Any number, to choose one of several by.
    pub choice: usize,
}

impl Step {
    fn draw(fault: Fault, at: Duration, lasts: Duration, random: &mut Rng) -> Self {
        Self { fault, at, lasts, whom: Whom::draw(random), choice: random.usize(..1_000) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.name())?;
        if self.fault.has_whom() { write!(f, " ({})", self.whom) } else { Ok(()) }
    }
}

/// The quiet before the first fault.
const WARM: Duration = Duration::from_secs(3);
/// Longer than all tries of an event that fails, and the waits between them.
pub const OUTLASTS_RETRIES: Duration = Duration::from_secs(20);
/// How long the name of PostgreSQL leads to the standby that is to take over.
const FAILS_OVER: Duration = Duration::from_secs(3);
/// Long enough for events to have their effect while Redis is away.
const CUT_AT_LAST: Duration = Duration::from_secs(2);
/// A run of this length has room for an outage that long.
const LONG: Duration = Duration::from_secs(60);
/// A run of this length has every kind of fault that comes again and again.
pub const WHOLE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is made from, and what the devices and readers choose by.
    pub seed: u64,
    /// How long the load runs at least.
    pub length: Duration,
    /// In the order of their beginnings.
    pub steps: Vec<Step>,
    /// How long Redis is cut from the workers before the devices end, and as long after that.
    pub cut_at_last: Option<Duration>,
    /// How many times longer than usual devices and readers pause.
    pub pace: u32,
    /// Whether kinds of faults were left out.
    pub is_part: bool,
}

impl Plan {
    /// A seed's schedule for a run of this length: every kind of fault comes before one comes again, and
    /// the last ones end with it.
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
            // Sometimes one comes before the last is over.
            at += Duration::from_millis(random.u64(500..5_000));
        }
        let somewhere =
            |random: &mut Rng, lasts: Duration| WARM + length.saturating_sub(WARM + lasts).mul_f64(random.f64() * 0.75);
        if length >= LONG {
            let at = somewhere(&mut random, OUTLASTS_RETRIES);
            steps.push(Step::draw(Fault::LosePostgres, at, OUTLASTS_RETRIES, &mut random));
            let at = somewhere(&mut random, FAILS_OVER);
            steps.push(Step::draw(Fault::FailOverPostgres, at, FAILS_OVER, &mut random));
            // Half of it is for devices that are refused beside other faults: those alone come to an end.
            let at = somewhere(&mut random, OUTLASTS_RETRIES * 2);
            steps.push(Step::draw(Fault::RefuseDevices, at, OUTLASTS_RETRIES, &mut random));
        }
        // In half of the runs.
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

    /// What it has of these faults alone, or all of it where none are named.
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
