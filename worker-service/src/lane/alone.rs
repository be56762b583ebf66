//! An outage that only one record meets is none.
//!
//! An error that stands for an outage makes the partition wait. But one record alone may meet it, for ever: a trigger
//! or a policy refuses its device, its statement takes too long, its row is locked, the backend crashes over it. So a
//! record that met such an error several times in a row is set aside with its device, and others are tried. Where they
//! are applied and the record fails once more, the error is the record's own: its device is held alone, and the
//! partition goes on. After a while, or when too much waits behind it, it is a dead letter. Where nobody else is
//! applied it is an outage as before, and a few devices at most are set aside in it.
//!
//! A database that comes and goes must not make a dead letter of a good record that is tried at the wrong moments. So
//! what counts is a control: the batch of others before a failure of the record was applied, and so were the next two
//! behind it. Where transactions fail by chance, at whatever rate, a good record has one in five times at most a
//! control before it is applied; for a dead letter it takes [ten](CONTROLS) in a row. The times between its tries vary,
//! so that it does not keep step with something that comes and goes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use shared::event::DeviceId;
use shared::store::StoreError;
use shared::topic::Reason;

use super::failing::{AfterFailure, MAX_SUSPECTS};
use super::held::Held;
use super::{Lane, Settings, Task};

/// How often a record fails on its own, before others are tried.
const TRIES: u32 = 3;
/// How long a record fails while others are applied, until it is a dead letter.
pub(super) const HELD_ALONE: Duration = Duration::from_secs(5 * 60);
/// Devices that are set aside before any other is applied: of more it is an outage.
pub(super) const MAX_SET_ASIDE: usize = 10;
/// The first wait of a device that is held; each one is twice as long, and varies by half of it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest. A try may take as long as the store's deadline, and the partition waits for it; or it may crash the
/// server.
const LONGEST_WAIT: Duration = Duration::from_secs(32);
/// A device is held for so many times what its last try took, at least.
const TIMES_ITS_COST: u32 = 4;
/// The wait of the next event of a device with dead letters, where only others have to be applied in between.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// Controls before a record may be a dead letter.
const CONTROLS: u32 = 10;
/// Batches of others that are applied behind a failure, for it to be a control.
const APPLIED_BEHIND: u32 = 2;

/// A device whose event met an outage on its own.
#[derive(Debug, Clone)]
struct Suspect {
    /// The event's place in the log.
    offset: i64,
    /// The first time.
    since: Duration,
    tries: u32,
    /// How often its device was held for it.
    holds: u32,
    controls: u32,
    /// Batches of others that are still to be applied for the next control, if one has begun.
    control: Option<u32>,
    /// How many batches had been applied by the last time.
    applied: u64,
    /// Others were applied while it failed.
    is_alone: bool,
    /// An earlier event of the device is a dead letter for it, and none was applied since.
    has_letters: bool,
}

impl Suspect {
    /// Whether its failures say nothing of others: they were tried without it.
    fn is_aside(&self) -> bool {
        self.is_alone || self.holds > 0
    }
}

/// What the lane remembers of outages that single events met.
#[derive(Debug)]
pub(super) struct Suspects {
    /// Batches that were applied.
    applied: u64,
    /// Whether the last batch of others that met a transaction at all was applied. A database that is away is no
    /// answer, and does not count.
    others_are_well: bool,
    /// Devices that were set aside, and no batch was applied since.
    set_aside: HashSet<DeviceId>,
    /// Until an event of theirs is applied.
    devices: HashMap<DeviceId, Suspect>,
    random: fastrand::Rng,
}

/// How much waits with an event.
pub(super) struct Waiting {
    /// As much of its device as may.
    pub(super) device_is_full: bool,
    /// Half as much as may at all.
    pub(super) is_half_full: bool,
    /// As much as may at all.
    is_full: bool,
}

/// A failure, as it is judged.
struct Failure {
    suspect: Suspect,
    /// Since the failure before others were applied, the last of them, too.
    others_were_applied: bool,
}

impl Suspects {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            applied: 0,
            others_are_well: false,
            set_aside: HashSet::new(),
            devices: HashMap::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// A batch was applied.
    pub(super) fn applied(&mut self, batch: &[Task]) {
        self.applied += 1;
        self.others_are_well = true;
        self.set_aside.clear();
        if self.devices.is_empty() {
            return;
        }
        for task in batch {
            self.devices.remove(task.device());
        }
        for suspect in self.devices.values_mut() {
            match suspect.control {
                Some(left) if left <= 1 => {
                    suspect.control = None;
                    suspect.controls += 1;
                }
                Some(left) => suspect.control = Some(left - 1),
                None => {}
            }
        }
    }

    /// A batch met an outage, of which nobody is known to be the cause.
    fn others_failed(&mut self) {
        self.others_are_well = false;
        for suspect in self.devices.values_mut() {
            suspect.control = None;
        }
    }

    /// Whether it is not certain yet of a device that is held whether it alone meets an outage; and, if so, whether
    /// others have to be applied before such a device is tried again, or that tells nothing.
    pub(super) fn uncertain(&self, held: &Held) -> Option<bool> {
        let is_uncertain = |suspect: &Suspect| suspect.is_aside() && suspect.controls < CONTROLS;
        let wants_others = |suspect: &Suspect| suspect.control.is_some() || suspect.applied == self.applied;
        let held = self.devices.iter().filter(|(device, suspect)| is_uncertain(suspect) && held.has(device));
        held.map(|(_, suspect)| wants_others(suspect)).reduce(|one, other| one || other)
    }

    /// The devices that met an outage alone.
    pub(super) fn alone(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter().filter(|(_, suspect)| suspect.is_alone).map(|(device, _)| device)
    }

    fn is_alone(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|suspect| suspect.is_alone)
    }

    /// Whether a device that is held is so because its event met an outage on its own.
    pub(super) fn is_aside(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(Suspect::is_aside)
    }

    pub(super) fn set_aside_is_full(&self) -> bool {
        self.set_aside.len() >= MAX_SET_ASIDE
    }

    fn may_set_aside(&self, device: &DeviceId) -> bool {
        !self.set_aside_is_full() || self.set_aside.contains(device)
    }

    /// An event met an outage on its own.
    fn failed(&mut self, device: &DeviceId, offset: i64, now: Duration) -> Failure {
        if self.devices.len() >= MAX_SUSPECTS && !self.devices.contains_key(device) {
            self.devices.clear();
        }
        let (applied, others_are_well) = (self.applied, self.others_are_well);
        let suspect = self.devices.entry(device.clone()).or_insert_with(|| Suspect {
            offset,
            since: now,
            tries: 0,
            holds: 0,
            controls: 0,
            control: None,
            applied,
            is_alone: false,
            has_letters: false,
        });
        if suspect.offset != offset {
            (suspect.offset, suspect.since) = (offset, now);
            (suspect.tries, suspect.holds, suspect.controls, suspect.control) = (0, 0, 0, None);
        }
        suspect.tries += 1;
        let others_were_applied = others_are_well && applied > std::mem::replace(&mut suspect.applied, applied);
        suspect.is_alone |= others_were_applied;
        let is_aside = suspect.is_aside();
        if is_aside && others_are_well {
            suspect.control.get_or_insert(APPLIED_BEHIND);
        }
        let suspect = suspect.clone();
        if !is_aside {
            self.others_failed();
        }
        Failure { suspect, others_were_applied }
    }

    /// Its device is held; says for how long, after a try that took so long.
    fn held(&mut self, device: &DeviceId, share_is_full: bool, cost: Duration) -> Duration {
        let Some(suspect) = self.devices.get_mut(device) else { return FIRST_WAIT };
        suspect.holds += 1;
        let wait = if share_is_full && suspect.has_letters && suspect.holds == 1 {
            SHORT_WAIT
        } else if share_is_full {
            FIRST_WAIT
        } else {
            FIRST_WAIT.saturating_mul(2_u32.saturating_pow(suspect.holds - 1)).min(LONGEST_WAIT)
        };
        let wait = wait.max(cost.saturating_mul(TIMES_ITS_COST));
        self.vary(wait)
    }

    fn vary(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 + self.random.f64() / 2.0)
    }

    fn has_letter(&mut self, device: &DeviceId) {
        if let Some(suspect) = self.devices.get_mut(device) {
            suspect.has_letters = true;
        }
    }
}

impl Lane {
    /// A batch met what may be an outage.
    pub(super) fn meets_outage(&mut self, mut batch: Vec<Task>, error: StoreError, now: Duration) -> AfterFailure {
        if batch.len() > 1 {
            // Whoever is known for it is found without a wait.
            let (alone, others): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|task| self.suspects_of_outage.is_alone(task.device()));
            if alone.is_empty() {
                self.suspects_of_outage.others_failed();
                if self.suspects_of_outage.set_aside_is_full() {
                    self.put_off_behind(others, error.message, now);
                    return AfterFailure::Waits;
                }
                return self.put_off_in_halves(others, error.message, now);
            }
            let cost = self.turns.cost(now);
            self.turns.failed(now, cost, self.suspects_of_outage.vary(cost));
            if others.is_empty() {
                return self.take_apart(alone, error, now);
            }
            self.work.push_front(alone);
            self.work.push_front(others);
            return AfterFailure::Split;
        }
        match batch.pop() {
            Some(task) => self.judge_outage(task, error.message, now),
            None => AfterFailure::Split,
        }
    }

    fn judge_outage(&mut self, mut task: Task, message: String, now: Duration) -> AfterFailure {
        let device = task.device().clone();
        let cost = self.turns.cost(now);
        let Waiting { device_is_full: share_is_full, is_full: all_is_full, .. } = self.waiting_with(&task);
        let Failure { suspect, others_were_applied } = self.suspects_of_outage.failed(&device, task.record.offset, now);
        if suspect.is_aside() {
            self.turns.failed(now, cost, self.suspects_of_outage.vary(cost));
        }
        if is_proven(&suspect, others_were_applied, share_is_full, all_is_full, now) {
            task.attempts = suspect.tries;
            self.suspects_of_outage.has_letter(&device);
            self.bury(task, Reason::UnknownError, message);
            return AfterFailure::DeadLetter;
        }
        if !suspect.is_alone && (suspect.tries < TRIES || !self.suspects_of_outage.may_set_aside(&device)) {
            if self.suspects_of_outage.may_set_aside(&device) {
                self.put_off(vec![task], message, now);
            } else {
                self.put_off_behind(vec![task], message, now);
            }
            return AfterFailure::Waits;
        }
        let delay = self.suspects_of_outage.held(&device, share_is_full && suspect.is_alone, cost);
        self.hold(task, now + delay);
        if suspect.is_alone {
            return AfterFailure::HeldAlone(delay);
        }
        // Until somebody else is applied it is an outage. Others are tried at once: that decides it.
        self.suspects_of_outage.set_aside.insert(device);
        self.outage.declare(now, message);
        AfterFailure::Held(delay)
    }

    /// How much waits with this event.
    pub(super) fn waiting_with(&self, task: &Task) -> Waiting {
        let behind = self.work.iter().flatten().filter(|other| other.device() == task.device());
        let (records, bytes) =
            behind.fold((1, task.size()), |(records, bytes), other| (records + 1, bytes + other.size()));
        let Settings { device_records, device_bytes, held_records, held_bytes, .. } = self.settings;
        let (all_records, all_bytes) = (self.held.records() + records, self.held.bytes() + bytes);
        Waiting {
            device_is_full: records >= device_records || bytes >= device_bytes,
            is_half_full: all_records >= held_records.div_ceil(2) || all_bytes >= held_bytes.div_ceil(2),
            is_full: all_records >= held_records || all_bytes >= held_bytes,
        }
    }
}

/// Whether the error is the record's own beyond doubt, and nobody has to wait for it any longer.
fn is_proven(
    suspect: &Suspect,
    others_were_applied: bool,
    share_is_full: bool,
    all_is_full: bool,
    now: Duration,
) -> bool {
    let is_late = now.saturating_sub(suspect.since) >= HELD_ALONE;
    // Where there is no room for any more, nobody else can be applied.
    let is_due = others_were_applied && (is_late || share_is_full) || is_late && all_is_full;
    // Of a device with dead letters the next events get one try each, while much waits.
    let has_one_try = suspect.has_letters && share_is_full && others_were_applied;
    suspect.is_alone && (suspect.controls >= CONTROLS && is_due || has_one_try)
}
