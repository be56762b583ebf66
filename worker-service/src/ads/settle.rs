//! Closes leases whose holders cannot use them any more, and proves incarnations of the Redis that holds the caps.
//!
//! A lease ends some seconds before this task takes it up; by then, the last record that it paid for is in the topic or
//! never will be. Whether all of its records have been applied, a fence of offsets tells: it is taken after the lease
//! has ended, and the lease is closed once the group has passed it. The same holds for the events that were accepted
//! before a Redis was first met.
//!
//! Fences are in memory only. If this process dies, another one takes later fences for the same leases. Several
//! processes may do all of this at once.

mod audit;
mod waiting;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::ads::queries::{self, Closed, IfLocked, OpenLeases};
use shared::runtime::sabotage::makes;
use shared::store::{Failure, Store};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::audit::Audit;
use self::waiting::{Due, Waiting};
use crate::consumer::offset_fence::OffsetFences;

/// The task's name.
pub const TASK: &str = "ads-settle";

const INTERVAL: Duration = Duration::from_secs(1);
/// How long after a lease's end its fence is taken. A holder stops before the end; a record that it has sent by then is
/// given up after two of the producer's timeouts.
const LEASE_AGE: Duration = Duration::from_secs(7);
/// How long after an incarnation was first met its fence is taken: the same time, for events that were accepted before.
const INCARNATION_AGE: Duration = Duration::from_secs(12);
/// The most leases that wait for their fences at a time, the oldest first.
const MOST_WAITING: u32 = 5_000;
/// Leases that are closed in one transaction.
const PIECE: usize = 500;
/// Locked campaigns that are waited for at a time, one after the other. The others come later.
const MOST_WAITS: usize = 3;
/// How long after its end, in seconds, an open lease is an error: the group is far behind, or this task fails.
const LONG_OPEN_S: f64 = 300.0;
/// How often open leases are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// How often the books of some campaigns are checked.
const AUDIT_INTERVAL: Duration = Duration::from_secs(10);

pub fn describe() {
    describe_counter!("ads_leases_closed_total", "Leases of ad budgets that were closed after their end.");
    describe_gauge!("ads_open_leases", "Open leases of ad budgets.");
    describe_gauge!(
        "ads_oldest_lease_seconds",
        "The time since the end of the oldest open lease; 0 if none has ended."
    );
    describe_gauge!(
        "ads_unproven_incarnations",
        "Incarnations of the caps' Redis, met seconds ago, of which it is not known that PostgreSQL has all earlier events."
    );
    describe_gauge!("ads_budget_violations", "Campaigns whose books break an invariant.");
    describe_gauge!(
        "ads_audit_age_seconds",
        "The time since the end of the last check of the books of all campaigns, or since the start."
    );
    counter!("ads_leases_closed_total").increment(0);
}

/// Settles until `stop` is cancelled.
pub async fn run(store: Store, fences: OffsetFences, stop: CancellationToken) {
    let mut task = Settlement {
        store,
        fences,
        waiting: Waiting::default(),
        counted: None,
        audited: None,
        audit: Audit::default(),
    };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Option<String> = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(settled) = stop.run_until_cancelled(task.settle()).await else { return };
        let Some(shown) = stop.run_until_cancelled(task.show()).await else { return };
        let error = settled.and(shown.context("checking the books")).err().map(|error| format!("{error:#}"));
        match &error {
            Some(error) if said.as_ref() != Some(error) => {
                tracing::warn!(task = TASK, error, "cannot settle leases of ad budgets now");
            }
            None if said.is_some() => tracing::info!(task = TASK, "leases of ad budgets are settled again"),
            _ => {}
        }
        said = error;
    }
}

struct Settlement {
    store: Store,
    fences: OffsetFences,
    waiting: Waiting,
    counted: Option<Instant>,
    audited: Option<Instant>,
    audit: Audit,
}

impl Settlement {
    async fn settle(&mut self) -> anyhow::Result<()> {
        let mut due = self.due().await?;
        if makes("early-settlement") {
            queries::close_leases(&self.store, &std::mem::take(&mut due.leases), IfLocked::Skip).await?;
        }
        gauge!("ads_unproven_incarnations").set(due.incarnations.len() as f64);
        let is_all = due.leases.len() < MOST_WAITING as usize;
        let new = self.waiting.meet(due, is_all);
        if new.is_empty() && self.waiting.is_empty() {
            return Ok(());
        }
        // The new ones were read before Kafka is asked: this fence is after everything that they wait for.
        let now = self.fences.offsets().await?;
        self.waiting.fence(new, &now);
        let Due { leases, incarnations } = self.waiting.passed(&now);
        // If this fails, they are due again, and get another fence. First what waits for no campaign's lock: capped
        // campaigns take nothing until then.
        if !incarnations.is_empty() {
            queries::prove(&self.store, &incarnations).await?;
            tracing::info!(task = TASK, ?incarnations, "PostgreSQL has all events that a Redis may have forgotten");
        }
        let mut locked = HashMap::new();
        for piece in leases.chunks(PIECE) {
            let released = queries::close_leases(&self.store, piece, IfLocked::Skip).await?;
            count(released.closed);
            locked.extend(released.locked);
        }
        // The order of a map is random, so each gets its turn.
        for (campaign, leases) in locked.into_iter().take(MOST_WAITS) {
            let released = queries::close_leases(&self.store, &leases, IfLocked::Wait).await?;
            count(released.closed);
            if !released.locked.is_empty() {
                tracing::warn!(task = TASK, %campaign, "another transaction has locked a campaign: its leases stay open");
            }
        }
        Ok(())
    }

    async fn due(&self) -> Result<Due, Failure> {
        let leases = queries::expired_leases(&self.store, LEASE_AGE, MOST_WAITING).await?;
        let incarnations = queries::unproven(&self.store, INCARNATION_AGE).await?;
        Ok(Due { leases, incarnations })
    }

    /// Shows the open leases, and checks the books.
    async fn show(&mut self) -> Result<(), Failure> {
        if is_due(&mut self.counted, COUNT_INTERVAL) {
            let OpenLeases { count, oldest_s } = queries::open_leases(&self.store).await?;
            gauge!("ads_open_leases").set(count as f64);
            gauge!("ads_oldest_lease_seconds").set(oldest_s);
            if oldest_s > LONG_OPEN_S {
                tracing::error!(task = TASK, open = count, oldest_s, "a lease is open for long after its end");
            }
        }
        if is_due(&mut self.audited, AUDIT_INTERVAL) {
            self.audit.look(&self.store).await?;
        }
        Ok(())
    }
}

fn count(Closed { leases, freed }: Closed) {
    counter!("ads_leases_closed_total").increment(leases);
    tracing::debug!(task = TASK, leases, %freed, "closed leases of ad budgets");
}

/// Whether this long has passed since the last time, which is noted.
fn is_due(last: &mut Option<Instant>, interval: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= interval);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
