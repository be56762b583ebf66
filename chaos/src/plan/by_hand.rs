//! The schedule of `make test`: each kind of fault once, in half a minute.
//!
//! Faults of different servers overlap, but so that each meets something:
//! - A worker is killed early. The group waits ten seconds for it, and would wait as long once more if
//!   Kafka went away meanwhile; so Kafka is stopped and killed after that.
//! - PostgreSQL is lost at last, since nothing has an effect until it is back. Redis is well by then, or
//!   nobody could read anything.

use std::time::Duration;

use super::{Fault, Plan, Step, Whom};

/// When each begins and how long it lasts, in milliseconds.
const STEPS: [(u64, Fault, u64, Whom); 29] = [
    (1_000, Fault::RefuseDevices, 500, Whom::All),
    (1_000, Fault::SlowPostgres, 800, Whom::All),
    (1_000, Fault::SlowKafka, 800, Whom::All),
    (1_200, Fault::CutRedis, 1_200, Whom::Workers),
    // With fences that it has put off.
    (1_600, Fault::KillWorker, 0, Whom::All),
    (2_000, Fault::CutPostgres, 1_000, Whom::All),
    (2_200, Fault::CutKafka, 1_000, Whom::All),
    (3_300, Fault::FreezeKafka, 1_000, Whom::All),
    (3_500, Fault::FreezeApi, 1_200, Whom::All),
    (4_000, Fault::ReadOnlyPostgres, 1_000, Whom::All),
    (4_500, Fault::RefuseLetters, 1_000, Whom::All),
    (5_000, Fault::FillDisk, 1_000, Whom::All),
    (6_000, Fault::Poison, 0, Whom::All),
    // These two abut: what the first leaves behind is sent after the second.
    (6_000, Fault::FreezeRedis, 1_000, Whom::All),
    (6_100, Fault::StopRedis, 500, Whom::All),
    // It stands still for three times as long, and goes on when Redis is back.
    (6_500, Fault::FreezeWorker, 700, Whom::All),
    (6_500, Fault::FreezePostgres, 1_000, Whom::All),
    (7_000, Fault::KillApi, 0, Whom::All),
    (7_500, Fault::StopPostgres, 300, Whom::All),
    (8_000, Fault::AddPartitions, 0, Whom::All),
    (8_500, Fault::StopApi, 0, Whom::All),
    (9_000, Fault::KillPostgres, 300, Whom::All),
    (10_000, Fault::AddWorker, 0, Whom::All),
    (10_500, Fault::KillRedis, 400, Whom::All),
    // Longer than an event that fails is tried.
    (12_000, Fault::LosePostgres, 15_000, Whom::All),
    (12_500, Fault::StopKafka, 300, Whom::All),
    (14_000, Fault::SlowRedis, 1_000, Whom::All),
    (19_000, Fault::KillKafka, 300, Whom::All),
    (24_000, Fault::StopWorker, 0, Whom::All),
];
/// PostgreSQL is back some time before.
const LENGTH: Duration = Duration::from_secs(29);

impl Plan {
    /// Each kind of fault once.
    pub fn by_hand() -> Self {
        let step = |(choice, (at, fault, lasts, whom)): (usize, (u64, Fault, u64, Whom))| Step {
            fault,
            at: Duration::from_millis(at),
            lasts: Duration::from_millis(lasts),
            whom,
            choice,
        };
        let steps = STEPS.into_iter().enumerate().map(step).collect();
        Self { seed: 1, length: LENGTH, steps, cut_at_last: true, is_part: false }
    }
}
