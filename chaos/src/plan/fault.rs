//! What can go wrong, and for whom.

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
    LosePostgres,
    FailOverPostgres,
    RefuseDevices,
    KillRedis,
    StopRedis,
    FreezeRedis,
    CutRedis,
    SlowRedis,
    SwapRedis,
    Poison,
    WireRecords,
    RefuseLetters,
    UnreadLogs,
    AddPartitions,
    Transactions,
}

impl Fault {
    /// Those that come again and again. The others happen once at most.
    pub const DRAWN: [Self; 31] = [
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
        Self::Transactions,
        Self::KillRedis,
        Self::StopRedis,
        Self::FreezeRedis,
        Self::CutRedis,
        Self::SlowRedis,
        Self::SwapRedis,
        Self::Poison,
        Self::WireRecords,
        Self::RefuseLetters,
        Self::UnreadLogs,
    ];

    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

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
                | Self::FailOverPostgres
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
            | Self::WireRecords
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
            | Self::FailOverPostgres
            | Self::RefuseDevices
            | Self::KillRedis
            | Self::StopRedis
            | Self::FreezeRedis
            | Self::CutRedis
            | Self::SlowRedis
            | Self::SwapRedis
            | Self::RefuseLetters
            | Self::UnreadLogs
            | Self::Transactions => true,
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
    All,
    Apis,
    Workers,
    /// Those of one way: an API alone, or every other worker.
    One(usize),
}

impl Whom {
    pub(super) fn draw(random: &mut Rng) -> Self {
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
