//! A seed becomes a schedule of faults. Pure: the same seed is the same schedule.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use serde::Serialize;

/// Something that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Fault {
    KillWorker,
    StopWorker,
    FreezeWorker,
    AddWorker,
    KillApi,
    StopApi,
    FreezeApi,
    KillKafka,
    StopKafka,
    FreezeKafka,
    CutKafka,
    SlowKafka,
    KillPostgres,
    StopPostgres,
    FreezePostgres,
    CutPostgres,
    SlowPostgres,
    ReadOnlyPostgres,
    FillDisk,
    LosePostgres,
    RefuseDevices,
    KillRedis,
    StopRedis,
    FreezeRedis,
    CutRedis,
    SlowRedis,
    Poison,
    RefuseLetters,
    AddPartitions,
}

impl Fault {
    /// Those that come again and again. The others happen once at most.
    pub const DRAWN: [Self; 27] = [
        Self::KillWorker,
        Self::StopWorker,
        Self::FreezeWorker,
        Self::AddWorker,
        Self::KillApi,
        Self::StopApi,
        Self::FreezeApi,
        Self::KillKafka,
        Self::StopKafka,
        Self::FreezeKafka,
        Self::CutKafka,
        Self::SlowKafka,
        Self::KillPostgres,
        Self::StopPostgres,
        Self::FreezePostgres,
        Self::CutPostgres,
        Self::SlowPostgres,
        Self::ReadOnlyPostgres,
        Self::FillDisk,
        Self::RefuseDevices,
        Self::KillRedis,
        Self::StopRedis,
        Self::FreezeRedis,
        Self::CutRedis,
        Self::SlowRedis,
        Self::Poison,
        Self::RefuseLetters,
    ];

    /// As `--only` takes it, and as it is told.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it happens between services and a server, and so may concern some of them only.
    pub fn has_whom(self) -> bool {
        matches!(
            self,
            Self::CutKafka
                | Self::SlowKafka
                | Self::CutPostgres
                | Self::SlowPostgres
                | Self::CutRedis
                | Self::SlowRedis
        )
    }

    /// Whether it lasts as long as its step says, and does not just happen.
    pub fn lasts(self) -> bool {
        match self {
            Self::KillWorker
            | Self::StopWorker
            | Self::AddWorker
            | Self::KillApi
            | Self::StopApi
            | Self::Poison
            | Self::AddPartitions => false,
            Self::FreezeWorker
            | Self::FreezeApi
            | Self::KillKafka
            | Self::StopKafka
            | Self::FreezeKafka
            | Self::CutKafka
            | Self::SlowKafka
            | Self::KillPostgres
            | Self::StopPostgres
            | Self::FreezePostgres
            | Self::CutPostgres
            | Self::SlowPostgres
            | Self::ReadOnlyPostgres
            | Self::FillDisk
            | Self::LosePostgres
            | Self::RefuseDevices
            | Self::KillRedis
            | Self::StopRedis
            | Self::FreezeRedis
            | Self::CutRedis
            | Self::SlowRedis
            | Self::RefuseLetters => true,
        }
    }
}

/// The APIs. Each has a way of its own to each server.
pub const APIS: usize = 2;
/// The ways that the workers share, one for every other worker.
pub const WORKERS_WAYS: usize = 2;

/// Whom a fault between services and a server concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// Everybody.
    All,
    /// The APIs.
    Apis,
    /// The workers.
    Workers,
    /// Those of one way: an API alone, or every other worker.
    One(usize),
}

impl Whom {
    fn draw(random: &mut Rng) -> Self {
        match random.usize(..5) {
            0 => Self::All,
            1 => Self::Apis,
            2 => Self::Workers,
            _ => Self::One(random.usize(..APIS + WORKERS_WAYS)),
        }
    }

    /// Whether it concerns those of this way: first come the APIs, then the workers'.
    pub fn has(self, way: usize) -> bool {
        match self {
            Self::All => true,
            Self::Apis => way < APIS,
            Self::Workers => way >= APIS,
            Self::One(one) => way == one,
        }
    }

    /// Whether it concerns a worker.
    pub fn has_workers(self) -> bool {
        (APIS..APIS + WORKERS_WAYS).any(|way| self.has(way))
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Apis => f.write_str("the APIs"),
            Self::Workers => f.write_str("the workers"),
            Self::One(way) if *way < APIS => write!(f, "API {way}"),
            Self::One(way) => write!(f, "every other worker, {}", way - APIS),
        }
    }
}

/// A fault, when, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What.
    pub fault: Fault,
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, where it lasts.
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
/// Longer than all tries of an event that fails: 2, 4 and 8 seconds, and the tries themselves.
const OUTLASTS_RETRIES: Duration = Duration::from_secs(20);
/// A run of this length has room for an outage that long.
const LONG: Duration = Duration::from_secs(60);

/// The schedule of a run of this length: every kind of fault comes before one comes again, and the
/// last ones end with it.
pub fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    let mut steps = Vec::new();
    let mut bag: Vec<Fault> = Vec::new();
    let mut at = WARM;
    while at < length {
        if bag.is_empty() {
            bag = Fault::DRAWN.to_vec();
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
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        let length = Duration::from_secs(120);
        assert_eq!(plan(7, length), plan(7, length));
        assert_ne!(plan(7, length), plan(8, length));
        for seed in 0..50 {
            let steps = plan(seed, length);
            assert!(steps.iter().all(|step| step.at + step.lasts <= length && step.at >= WARM));
            assert!(steps.windows(2).all(|pair| pair[0].at <= pair[1].at));
            let kinds: BTreeSet<_> = steps.iter().map(|step| step.fault).collect();
            assert!(Fault::DRAWN.iter().all(|kind| kinds.contains(kind)), "all kinds in two minutes: {kinds:?}");
            let cut: Vec<_> = steps.iter().filter(|step| step.fault.has_whom()).map(|step| step.whom).collect();
            assert!(cut.iter().any(|whom| !whom.has_workers()) || cut.len() < 10, "an API alone, some time");
            let lost = steps.iter().filter(|step| step.fault == Fault::LosePostgres).count();
            assert_eq!(lost, 1, "once for longer than an event is tried");
            let given_up = |step: &&Step| step.fault == Fault::RefuseDevices && step.lasts >= OUTLASTS_RETRIES;
            assert_eq!(steps.iter().filter(given_up).count(), 1, "and once refused for as long");
        }
    }
}
