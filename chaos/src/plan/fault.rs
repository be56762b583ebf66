//! The kinds of faults, and the services they affect.

use std::fmt;

use clap::ValueEnum;
use fastrand::Rng;
use serde::Serialize;

/// Something that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
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
    RefuseDevices,
    Transactions,
    KillRedis,
    StopRedis,
    FreezeRedis,
    CutRedis,
    SlowRedis,
    SwapRedis,
    RestoreRedis,
    FailoverRedis,
    EvictRedis,
    Midnight,
    PatchBudget,
    FreezeRelay,
    KillRelay,
    TwoRelays,
    HoldXmin,
    CutObjects,
    Poison,
    WireRecords,
    RefuseLetters,
    UnreadLogs,
    LosePostgres,
    FailOverPostgres,
    RestorePostgres,
    AddPartitions,
}

impl Fault {
    /// The recurring faults, in an order on which the seeds depend. The others happen at most once.
    pub fn drawn() -> Vec<Self> {
        let once = [Self::LosePostgres, Self::FailOverPostgres, Self::RestorePostgres, Self::AddPartitions];
        Self::all().filter(|fault| !once.contains(fault)).collect()
    }

    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Its name for `--only` and in the output.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it is a fault of the connection to a server, and so can affect only some services.
    pub fn has_target(self) -> bool {
        self.nature().2
    }

    /// Whether it lasts as long as its step says; otherwise it is instantaneous.
    pub fn lasts(self) -> bool {
        self.nature().1
    }

    /// The server that it occupies, if any.
    pub fn turn(self) -> Option<Turn> {
        self.nature().0
    }

    /// The server that it occupies, whether it lasts, and whether it is a fault of a connection.
    fn nature(self) -> (Option<Turn>, bool, bool) {
        let (kafka, postgres, redis) = (Some(Turn::Kafka), Some(Turn::Postgres), Some(Turn::Redis));
        match self {
            Self::KillWorker | Self::StopWorker | Self::AddWorker => (None, false, false),
            Self::KillApi | Self::StopApi | Self::Poison | Self::AddPartitions => (None, false, false),
            Self::FreezeWorker | Self::FreezeApi | Self::RefuseDevices | Self::UnreadLogs => (None, true, false),
            Self::WireRecords => (kafka, false, false),
            Self::KillKafka | Self::StopKafka | Self::FreezeKafka | Self::RefuseLetters => (kafka, true, false),
            Self::CutKafka | Self::SlowKafka => (kafka, true, true),
            Self::KillPostgres | Self::StopPostgres | Self::FreezePostgres => (postgres, true, false),
            Self::ReadOnlyPostgres | Self::FillDisk | Self::LosePostgres => (postgres, true, false),
            Self::CutPostgres | Self::SlowPostgres | Self::FailOverPostgres => (postgres, true, true),
            Self::KillRedis | Self::StopRedis | Self::FreezeRedis | Self::SwapRedis => (redis, true, false),
            Self::CutRedis | Self::SlowRedis => (redis, true, true),
            Self::RestoreRedis | Self::FailoverRedis | Self::EvictRedis => (redis, true, false),
            Self::Midnight | Self::PatchBudget | Self::HoldXmin | Self::CutObjects => (None, true, false),
            Self::KillRelay => (Some(Turn::Relay), false, false),
            Self::FreezeRelay | Self::TwoRelays | Self::RestorePostgres => (Some(Turn::Relay), true, false),
            // These write during any other fault, but one at a time.
            Self::Transactions => (Some(Turn::Transactions), true, false),
        }
    }
}

/// Each of these has only one fault at a time.
#[derive(Debug, Clone, Copy)]
pub enum Turn {
    Kafka,
    Postgres,
    Redis,
    Transactions,
    /// The relay of the outbox, which is one of the workers.
    Relay,
}

/// The number of APIs. Each has its own proxies.
pub const APIS: usize = 2;
/// The number of proxy sets that the workers share, alternating.
pub const WORKER_PROXIES: usize = 2;

/// The services that a fault of a connection affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    All,
    Apis,
    Workers,
    /// The services of one proxy set: one API, or every other worker.
    One(usize),
}

impl Target {
    pub(super) fn draw(random: &mut Rng) -> Self {
        match random.usize(..5) {
            0 => Self::All,
            1 => Self::Apis,
            2 => Self::Workers,
            _ => Self::One(random.usize(..APIS + WORKER_PROXIES)),
        }
    }

    /// Whether it affects the services of this proxy set: the APIs' come first, then the workers'.
    pub fn has(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Apis => index < APIS,
            Self::Workers => index >= APIS,
            Self::One(one) => index == one,
        }
    }

    pub fn has_workers(self) -> bool {
        (APIS..APIS + WORKER_PROXIES).any(|index| self.has(index))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Apis => f.write_str("the APIs"),
            Self::Workers => f.write_str("the workers"),
            Self::One(index) if *index < APIS => write!(f, "API {index}"),
            Self::One(index) => write!(f, "every other worker, {}", index - APIS),
        }
    }
}
