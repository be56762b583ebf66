//! An outage that only one record meets is none.
//!
//! An SQLSTATE that is not known counts as an outage: the partition waits. But PostgreSQL may answer so for one record
//! alone, for ever. So a record that met it several times in a row is set aside with its device, and others are tried.
//! Where one of them is applied and the record fails once more, the error is the record's own: its device is held
//! alone. After a while, or when too much waits behind it, it is a dead letter. Where none is applied it is an outage
//! as before, and a few devices at most are set aside in it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use shared::event::DeviceId;
use shared::store::{Sqlstate, StoreError};
use shared::topic::Reason;

use super::failing::{AfterFailure, MAX_SUSPECTS};
use super::{Lane, Settings, Task, backoff};

/// How often a record fails on its own, before others are tried.
const TRIES: u32 = 3;
/// How long a record fails while others are applied, until it is a dead letter.
pub(super) const HELD_ALONE: Duration = Duration::from_secs(5 * 60);
/// Devices that are set aside before any other is applied: of more it is an outage.
pub(super) const MAX_SET_ASIDE: usize = 10;
/// The wait of every later try of a device that is held, as a number of tries that failed.
const LONGEST_WAIT: u32 = 3;

/// What a record met on its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met {
    code: Sqlstate,
    /// The first time.
    since: Duration,
    tries: u32,
    /// How often its device was held for it.
    holds: u32,
    /// How many batches had been applied by the last time.
    successes: u64,
}

/// What the lane remembers of such errors.
#[derive(Debug, Default)]
pub(super) struct UnknownErrors {
    /// Batches that were applied.
    successes: u64,
    /// Devices that were set aside, and no batch was applied since.
    set_aside: HashSet<DeviceId>,
    /// Devices that met the error while others were applied, until an event of theirs is applied.
    alone: HashMap<DeviceId, Sqlstate>,
}

impl UnknownErrors {
    /// A batch was applied.
    pub(super) fn applied(&mut self, batch: &[Task]) {
        self.successes += 1;
        self.set_aside.clear();
        if !self.alone.is_empty() {
            for task in batch {
                self.alone.remove(task.device());
            }
        }
    }

    /// The devices that met such an error alone.
    pub(super) fn alone(&self) -> impl Iterator<Item = &DeviceId> {
        self.alone.keys()
    }

    fn is_alone(&self, device: &DeviceId, code: Sqlstate) -> bool {
        self.alone.get(device) == Some(&code)
    }

    fn may_set_aside(&self, device: &DeviceId) -> bool {
        self.set_aside.len() < MAX_SET_ASIDE || self.set_aside.contains(device)
    }

    fn note(&mut self, device: &DeviceId, code: Sqlstate) {
        if self.alone.len() >= MAX_SUSPECTS {
            self.alone.clear();
        }
        self.alone.insert(device.clone(), code);
    }
}

impl Lane {
    /// A batch met an error that is not known.
    pub(super) fn meets_unknown(
        &mut self,
        mut batch: Vec<Task>,
        code: Sqlstate,
        error: StoreError,
        now: Duration,
    ) -> AfterFailure {
        if batch.len() > 1 {
            // Whoever is known for it is found without a wait.
            if batch.iter().any(|task| self.unknown.is_alone(task.device(), code)) {
                return self.take_apart(batch, error, now);
            }
            self.put_off(batch, error.message, now);
            return AfterFailure::Waits;
        }
        match batch.pop() {
            Some(task) => self.judge_unknown(task, code, error.message, now),
            None => AfterFailure::Split,
        }
    }

    fn judge_unknown(&mut self, mut task: Task, code: Sqlstate, message: String, now: Duration) -> AfterFailure {
        let device = task.device().clone();
        let successes = self.unknown.successes;
        let met = task.unknown.filter(|met| met.code == code);
        let mut met = met.unwrap_or(Met { code, since: now, tries: 0, holds: 0, successes });
        let others_were_applied = successes > met.successes;
        met.successes = successes;
        met.tries += 1;
        if others_were_applied {
            self.unknown.note(&device, code);
        }
        let is_alone = self.unknown.is_alone(&device, code);
        let (share_is_full, all_is_full) = self.is_full_with(&task);
        // Where there is no room for any more, nobody else can be applied.
        let can_be_told = others_were_applied || all_is_full;
        let is_late = can_be_told && now.saturating_sub(met.since) >= HELD_ALONE;
        if is_alone && (is_late || share_is_full) {
            task.attempts = met.tries;
            self.bury(task, Reason::UnknownError, message);
            return AfterFailure::DeadLetter;
        }
        if !is_alone && (met.tries < TRIES || !self.unknown.may_set_aside(&device)) {
            task.unknown = Some(met);
            self.put_off(vec![task], message, now);
            return AfterFailure::Waits;
        }
        met.holds += 1;
        task.unknown = Some(met);
        let delay = backoff::retry_delay(met.holds.min(LONGEST_WAIT)).unwrap_or_default();
        self.hold(task, now + delay);
        if is_alone {
            return AfterFailure::HeldAlone(delay);
        }
        // Until somebody else is applied it is an outage. Others are tried at once: that decides it.
        self.unknown.set_aside.insert(device);
        self.outage.declare(now, message);
        AfterFailure::Held(delay)
    }

    /// Whether as much waits with this event as may of its device, and whether as much as may at all.
    fn is_full_with(&self, task: &Task) -> (bool, bool) {
        let behind = self.work.iter().flatten().filter(|other| other.device() == task.device());
        let (records, bytes) =
            behind.fold((1, task.size()), |(records, bytes), other| (records + 1, bytes + other.size()));
        let Settings { held_alone_records, held_alone_bytes, held_records, held_bytes, .. } = self.settings;
        let share = records >= held_alone_records || bytes >= held_alone_bytes;
        let all = self.held.records() + records >= held_records || self.held.bytes() + bytes >= held_bytes;
        (share, all)
    }
}
