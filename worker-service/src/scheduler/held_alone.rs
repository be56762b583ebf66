//! An outage-class error that only one record meets is not an outage.
//!
//! An outage-class error makes the partition wait. But a single record may meet it for ever: a trigger or a policy
//! refuses its key, its statement takes too long, its row is locked, or the backend crashes on it. So a record that met
//! such an error several times in a row is set aside with its key, and other events are tried, or, if there are none,
//! a [probe](super::Action::Probe). If these succeed and the record fails once more, the record itself causes the
//! error: its key is held alone, and the partition goes on. After a while, or when too much waits behind it, the record
//! becomes a dead letter. If nothing else succeeds, it is an outage, and only a few keys are set aside during it.
//!
//! A database that fails intermittently must not turn a good record into a dead letter because each try met a bad
//! moment. So only controls count as evidence: a failure of the record is a control if the last batch of other keys
//! before it and the next two after it were applied. If transactions fail at random, at whatever rate, a good record
//! collects a control before it is applied in at most one of five cases. A dead letter takes [ten](CONTROLS) in a row,
//! or [three](FEW_CONTROLS) after another dead letter of the same key if nothing else has failed for long. The waits
//! between the tries vary, so that they do not coincide with a periodic fault.
//!
//! Held events must not fill their memory, or the partition stops. So once half of it is used, the keys that hold the
//! most are tried without a wait, and their events become dead letters one after the other, until one is applied or
//! less than half is held. If that is slower than new events arrive, each failed try turns several events into dead
//! letters.

use std::time::Duration;

use shared::kafka::Reason;
use shared::store::Failure;

use super::failing::AfterFailure;
use super::suspects::{LoneFailure, Pressure};
use super::{Scheduler, Settings, Task};

/// How often a record fails on its own before other keys are tried.
const TRIES: u32 = 3;
/// How long a record fails while others are applied, before it becomes a dead letter.
pub(super) const HELD_ALONE: Duration = Duration::from_secs(5 * 60);
/// The controls that a record needs to become a dead letter.
pub(super) const CONTROLS: u32 = 10;
/// The same after a dead letter of its key, while nothing else fails.
pub(super) const FEW_CONTROLS: u32 = 3;
/// A try that takes longer is slow: [`CONTROLS`] of them would take minutes.
const SLOW: Duration = Duration::from_secs(1);
/// After this many dead letters of a key in a row, each failed try turns further events of the key into dead letters
/// while too much is held.
pub(super) const MANY_DEAD_LETTERS: usize = 20;
/// The same for a key whose tries are slow.
const MANY_SLOW_LETTERS: usize = 2;

impl<E> Scheduler<E> {
    /// A batch met an error that may be an outage.
    pub(super) fn meets_outage(&mut self, mut batch: Vec<Task<E>>, error: Failure, now: Duration) -> AfterFailure {
        if batch.len() > 1 {
            // Keys that are known to meet outages alone are separated without a wait.
            let (alone, others): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|task| self.suspects_of_outage.is_alone(task.key()));
            if alone.is_empty() {
                self.suspects_of_outage.others_failed();
                if self.suspects_of_outage.set_aside_is_full() {
                    self.put_off_behind(others, error.reason, now);
                    return AfterFailure::Waits;
                }
                return self.put_off_in_halves(others, error.reason, now);
            }
            self.turn_failed(now);
            if others.is_empty() {
                return self.take_apart(alone, error, now);
            }
            self.work.push_front(alone);
            self.work.push_front(others);
            return AfterFailure::Split;
        }
        match batch.pop() {
            Some(task) => self.judge_outage(task, error.reason, now),
            None => AfterFailure::Split,
        }
    }

    /// The result of a probe that [`super::Action::Probe`] asked for. A data error of the probe, for example from a
    /// constraint on its key, is no evidence about other events.
    pub fn probed(&mut self, result: Result<(), Failure>, now: Duration) {
        use shared::store::Class::{Again, Failed, Outage, OutageMet, Panicked, Poison};
        match result {
            Ok(()) => {
                self.store_answered();
                self.turns.of_others = false;
                self.suspects_of_outage.probed(now);
                self.try_undecided_where_over(now);
            }
            Err(error) => {
                self.suspects_of_outage.probe_failed(now, error.class == OutageMet);
                match error.class {
                    Outage => self.outage.wait(now, error.reason),
                    OutageMet => self.outage.declare(now, error.reason),
                    Poison | Failed | Panicked | Again => {}
                }
            }
        }
    }

    /// Once other keys succeed again, the keys that were set aside meanwhile are due at once: either the outage was
    /// general and is over, or the next failure shows that the key is the cause.
    pub(super) fn try_undecided_where_over(&mut self, now: Duration) {
        if std::mem::take(&mut self.suspects_of_outage.is_over) {
            self.held.hasten(now, |key| self.suspects_of_outage.is_undecided(key));
        }
    }

    fn judge_outage(&mut self, mut task: Task<E>, message: String, now: Duration) -> AfterFailure {
        let key = task.key().clone();
        let cost = self.turns.cost(now);
        let pressure = self.pressure_of(&task);
        let failure = self.suspects_of_outage.failed(&task, now);
        let suspect = &failure.suspect;
        if suspect.is_aside() {
            self.turn_failed(now);
        }
        if is_proven(&failure, pressure, cost, now) {
            task.attempts = suspect.tries;
            let many = if cost >= SLOW { MANY_SLOW_LETTERS } else { MANY_DEAD_LETTERS };
            let dead_letters = suspect.dead_letters;
            let mut behind = self.take_all(&key);
            self.make_dead_letter(task, Reason::UnknownError, message.clone());
            let mut made = 1;
            // At most as many as the key had before, so that the number doubles with each failure; none of the key's
            // events was applied meanwhile. If tries are slow, there is no such limit.
            let most = if cost >= SLOW { usize::MAX } else { dead_letters };
            let mut bytes: usize = behind.iter().map(Task::size).sum();
            while dead_letters >= many && made <= most && self.is_half_full(behind.len(), bytes) {
                let Some(task) = behind.pop_front() else { break };
                bytes -= task.size();
                self.make_dead_letter(task, Reason::UnknownError, message.clone());
                made += 1;
            }
            let delay = self.suspects_of_outage.have_dead_letters(&key, made, now);
            if !behind.is_empty() {
                self.hold_all(key, behind, now + delay);
            }
            return AfterFailure::DeadLetter;
        }
        if !suspect.is_alone && (suspect.tries < TRIES || !self.suspects_of_outage.may_set_aside(&key)) {
            if self.suspects_of_outage.may_set_aside(&key) {
                self.put_off(vec![task], message, now);
            } else {
                self.put_off_behind(vec![task], message, now);
            }
            return AfterFailure::Waits;
        }
        let delay = self.suspects_of_outage.held(&key, pressure, cost);
        self.hold(task, now + delay);
        if suspect.is_alone {
            return AfterFailure::HeldAlone(delay);
        }
        // It counts as an outage until an event of another key is applied. Others are tried at once, which decides it.
        self.suspects_of_outage.set_aside.insert(key);
        self.outage.declare(now, message);
        AfterFailure::Held(delay)
    }

    /// A try of a key that was set aside failed. Other keys get at least as much time before the next such try, unless
    /// the held events are full, so that no event of other keys can come in.
    fn turn_failed(&mut self, now: Duration) {
        let cost = self.turns.cost(now);
        let is_full = self.held.is_full(&self.settings);
        let theirs = if is_full { Duration::ZERO } else { self.suspects_of_outage.vary(cost) };
        self.turns.failed(now, cost, theirs);
    }

    /// The pressure from the events that wait with this one.
    pub(super) fn pressure_of(&self, task: &Task<E>) -> Pressure {
        let behind = self.work.iter().flatten().filter(|other| other.key() == task.key());
        let (records, bytes) =
            behind.fold((1, task.size()), |(records, bytes), other| (records + 1, bytes + other.size()));
        let (held_records, held_bytes) = self.held.of(task.key());
        let Settings { key_records, key_bytes, .. } = self.settings;
        if self.is_half_full(records, bytes) {
            Pressure::Partition
        } else if records + held_records >= key_records || bytes + held_bytes >= key_bytes {
            Pressure::Key
        } else {
            Pressure::None
        }
    }

    /// Whether half of a bound on held events would be reached with this much more.
    pub(super) fn is_half_full(&self, records: usize, bytes: usize) -> bool {
        let Settings { held_records, held_bytes, .. } = self.settings;
        self.held.records() + records >= held_records.div_ceil(2) || self.held.bytes() + bytes >= held_bytes.div_ceil(2)
    }
}

/// Whether the record is proven to cause the error, and its key need not wait any longer.
fn is_proven(failure: &LoneFailure, pressure: Pressure, cost: Duration, now: Duration) -> bool {
    let LoneFailure { suspect, others_were_applied, is_calm } = failure;
    let is_late = now.saturating_sub(suspect.since) >= HELD_ALONE;
    // If only probes succeed, every real event may be failing. Then the record need not be decided yet either, unless
    // the partition is running out of room.
    let is_due = match pressure {
        Pressure::Partition => true,
        Pressure::Key => suspect.with_events,
        Pressure::None => suspect.with_events && is_late,
    };
    // If one transaction takes seconds while fifty others in a row do not, a single control is evidence enough.
    let is_slow = cost >= SLOW;
    let controls = match (suspect.is_known(), pressure, *is_calm) {
        (true, Pressure::Key | Pressure::Partition, true) if is_slow => 1,
        (true, Pressure::Key | Pressure::Partition, true) => FEW_CONTROLS,
        (false, Pressure::Partition, true) if is_slow => FEW_CONTROLS,
        _ => CONTROLS,
    };
    suspect.is_alone && *others_were_applied && is_due && suspect.controls >= controls
}
