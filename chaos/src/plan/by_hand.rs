//! The schedule of `make test`: each kind of fault once, in half a minute; only PostgreSQL is not restored to an earlier
//! time, which takes as long by itself.
//!
//! Faults of different servers overlap, but each still affects running work:
//! - A worker is killed early. The group waits ten seconds for it, and would wait ten more if Kafka went
//!   away meanwhile; so Kafka is stopped and killed after that.
//! - PostgreSQL is lost late, since no event has an effect until it is back. Redis works by then, because
//!   otherwise no read would be answered.

use std::time::Duration;

use super::{Fault, Plan, Step, Target};

/// When each begins and how long it lasts, in milliseconds.
const STEPS: [(u64, Fault, u64, Target); 44] = [
    (1_000, Fault::RefuseDevices, 300, Target::All),
    (1_000, Fault::SlowPostgres, 500, Target::All),
    (1_000, Fault::SlowKafka, 500, Target::All),
    (1_200, Fault::CutRedis, 1_000, Target::Workers),
    (1_500, Fault::CutObjects, 1_500, Target::All),
    // The worker still has deferred fences.
    (1_600, Fault::KillWorker, 0, Target::All),
    (1_600, Fault::CutPostgres, 700, Target::All),
    (1_800, Fault::CutKafka, 700, Target::All),
    (2_800, Fault::FreezeKafka, 700, Target::All),
    (3_000, Fault::FreezeApi, 1_000, Target::All),
    // Redis is back, and the caps are taken.
    (3_000, Fault::RestoreRedis, 800, Target::All),
    (3_200, Fault::KillRelay, 0, Target::All),
    (3_300, Fault::TwoRelays, 500, Target::All),
    (3_500, Fault::ReadOnlyPostgres, 700, Target::All),
    (3_700, Fault::RefuseLetters, 700, Target::All),
    (4_500, Fault::FillDisk, 700, Target::All),
    (5_000, Fault::Poison, 0, Target::All),
    // The second waits for the first and follows directly: fences deferred in the first are sent after the second.
    (5_000, Fault::FreezeRedis, 800, Target::All),
    (5_100, Fault::StopRedis, 300, Target::All),
    // It is frozen for three times as long and resumes when Redis is back.
    (5_300, Fault::FreezeWorker, 600, Target::All),
    (5_500, Fault::FreezePostgres, 700, Target::All),
    (6_000, Fault::KillApi, 0, Target::All),
    (6_500, Fault::StopPostgres, 200, Target::All),
    (7_000, Fault::AddPartitions, 0, Target::All),
    // Device events are appended after the open transactions, and consumers cannot read them yet.
    (7_000, Fault::Transactions, 1_500, Target::All),
    (7_500, Fault::StopApi, 0, Target::All),
    (8_000, Fault::KillPostgres, 200, Target::All),
    (8_500, Fault::AddWorker, 0, Target::All),
    (8_500, Fault::KillRedis, 300, Target::All),
    (9_000, Fault::WireRecords, 0, Target::All),
    // The other services write meanwhile; the standby gets these writes only when it takes over.
    (9_200, Fault::FailOverPostgres, 700, Target::One(0)),
    // While PostgreSQL is lost, the services log a lot.
    (9_500, Fault::UnreadLogs, 1_500, Target::All),
    // Longer than a failing event is retried.
    (10_000, Fault::LosePostgres, 15_000, Target::All),
    (11_000, Fault::SwapRedis, 800, Target::All),
    (12_000, Fault::StopKafka, 200, Target::All),
    (14_000, Fault::SlowRedis, 1_000, Target::All),
    (15_500, Fault::FailoverRedis, 800, Target::All),
    (18_000, Fault::KillKafka, 200, Target::All),
    (20_000, Fault::StopWorker, 0, Target::All),
    // PostgreSQL is back, without which no campaign changes and no event is accepted for long.
    (24_000, Fault::Midnight, 2_000, Target::All),
    (24_000, Fault::PatchBudget, 500, Target::All),
    (25_000, Fault::EvictRedis, 1_500, Target::All),
    (25_500, Fault::HoldXmin, 1_500, Target::All),
    // Another worker takes over, ten seconds later.
    (26_000, Fault::FreezeRelay, 300, Target::All),
];
/// PostgreSQL is back some time before this end.
const LENGTH: Duration = Duration::from_secs(27);
/// See [`Plan::cut_at_last`].
const CUT_AT_LAST: Duration = Duration::from_secs(1);
/// Other tests run at the same time: here the faults matter, not the number of events.
const PACE: u32 = 4;

impl Plan {
    /// Each kind of fault once, except one.
    pub fn by_hand() -> Self {
        let step = |(choice, (at, fault, lasts, target)): (usize, (u64, Fault, u64, Target))| Step {
            fault,
            at: Duration::from_millis(at),
            lasts: Duration::from_millis(lasts),
            target,
            choice,
        };
        let steps = STEPS.into_iter().enumerate().map(step).collect();
        Self { seed: 1, length: LENGTH, steps, cut_at_last: Some(CUT_AT_LAST), pace: PACE, is_part: false }
    }
}
