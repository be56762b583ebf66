//! An outage that only one record meets is none.
//!
//! An error that stands for an outage makes the partition wait. But one record alone may meet it, for ever: a trigger
//! or a policy refuses its key, its statement takes too long, its row is locked, the backend crashes over it. So a
//! record that met such an error several times in a row is set aside with its key, and others are tried; where none
//! are there, a [probe](super::Action::Probe). Where they succeed and the record fails once more, the error is the
//! record's own: its key is held alone, and the partition goes on. After a while, or when too much waits behind it,
//! it is a dead letter. Where nobody else succeeds it is an outage as before, and a few keys at most are set aside in
//! it.
//!
//! A database that comes and goes must not make a dead letter of a good record that is tried at the wrong moments. So
//! what counts is a control: the batch of others before a failure of the record was applied, and so were the next two
//! behind it. Where transactions fail by chance, at whatever rate, a good record has one in five times at most a
//! control before it is applied; for a dead letter it takes [ten](CONTROLS) in a row, or, behind another one of its
//! key, [three](FEW_CONTROLS) where nobody else failed for long. The times between its tries vary, so that it does
//! not keep step with something that comes and goes.
//!
//! What is held must not fill the memory there is for it, or the partition stops. So from half of it on the keys
//! that hold the most are tried without a wait, and their events become dead letters one after the other, until one is
//! applied, or less than half is held. Where that is too slow for what comes in, several go with each.

use std::time::Duration;

use shared::kafka::Reason;
use shared::store::Failure;

use super::failing::AfterFailure;
use super::suspects::{LoneFailure, Pressure};
use super::{Scheduler, Settings, Task};

/// How often a record fails on its own, before others are tried.
const TRIES: u32 = 3;
/// How long a record fails while others are applied, until it is a dead letter.
pub(super) const HELD_ALONE: Duration = Duration::from_secs(5 * 60);
/// Controls before a record may be a dead letter.
pub(super) const CONTROLS: u32 = 10;
/// The same behind a dead letter of its key, where nobody else fails.
pub(super) const FEW_CONTROLS: u32 = 3;
/// A try that takes longer is slow: so many controls would take minutes.
const SLOW: Duration = Duration::from_secs(1);
/// So many dead letters of a key in a row: from then on each takes others with it, where too much is held.
pub(super) const MANY_DEAD_LETTERS: usize = 20;
/// The same of one whose tries are slow.
const MANY_SLOW_LETTERS: usize = 2;

impl<E> Scheduler<E> {
    /// A batch met what may be an outage.
    pub(super) fn meets_outage(&mut self, mut batch: Vec<Task<E>>, error: Failure, now: Duration) -> AfterFailure {
        if batch.len() > 1 {
            // Whoever is known for it is found without a wait.
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

    /// A probe that [`super::Action::Probe`] asked for, and how it went. What it meets on data, as a constraint that knows
    /// its keys, says nothing of others.
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

    /// Where others succeed again, whoever was set aside meanwhile is tried without a further wait: it was an outage of
    /// all, or is decided now.
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
            // As many as there were before: with each failure twice as many. None of them was applied. Where a try is
            // slow, as many as there are.
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
        // Until somebody else is applied it is an outage. Others are tried at once: that decides it.
        self.suspects_of_outage.set_aside.insert(key);
        self.outage.declare(now, message);
        AfterFailure::Held(delay)
    }

    /// A try of such a key failed. Others have as much time before the next one, unless nothing of theirs can come in.
    fn turn_failed(&mut self, now: Duration) {
        let cost = self.turns.cost(now);
        let is_full = self.held.is_full(&self.settings);
        let theirs = if is_full { Duration::ZERO } else { self.suspects_of_outage.vary(cost) };
        self.turns.failed(now, cost, theirs);
    }

    /// How much waits with this event.
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

    /// Whether half of what may be held is, with so much more.
    pub(super) fn is_half_full(&self, records: usize, bytes: usize) -> bool {
        let Settings { held_records, held_bytes, .. } = self.settings;
        self.held.records() + records >= held_records.div_ceil(2) || self.held.bytes() + bytes >= held_bytes.div_ceil(2)
    }
}

/// Whether the error is the record's own beyond doubt, and nobody has to wait for it any longer.
fn is_proven(failure: &LoneFailure, pressure: Pressure, cost: Duration, now: Duration) -> bool {
    let LoneFailure { suspect, others_were_applied, is_calm } = failure;
    let is_late = now.saturating_sub(suspect.since) >= HELD_ALONE;
    // Where probes alone succeed, it may be an outage of all that is real. Then nobody has to wait for this one either,
    // unless there is no room for more.
    let is_due = match pressure {
        Pressure::Partition => true,
        Pressure::Key => suspect.with_events,
        Pressure::None => suspect.with_events && is_late,
    };
    // That a transaction takes seconds by chance while fifty others in a row do not is unlikely enough once.
    let is_slow = cost >= SLOW;
    let controls = match (suspect.is_known(), pressure, *is_calm) {
        (true, Pressure::Key | Pressure::Partition, true) if is_slow => 1,
        (true, Pressure::Key | Pressure::Partition, true) => FEW_CONTROLS,
        (false, Pressure::Partition, true) if is_slow => FEW_CONTROLS,
        _ => CONTROLS,
    };
    suspect.is_alone && *others_were_applied && is_due && suspect.controls >= controls
}
