//! What the scheduler remembers of outages that single events met, and the evidence for each.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use shared::kafka::ids::Key;

use super::Task;
use super::held::Held;

/// Keys known to fail; past this many the memory starts anew.
pub(super) const MAX_SUSPECTS: usize = 10_000;
/// Keys that are set aside before any other is applied: of more it is an outage.
pub(super) const MAX_SET_ASIDE: usize = 10;
/// The first wait of a key that is held; each one is twice as long, and varies by half of it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest. A try may take as long as the store's deadline, and the partition waits for it; or it may crash the
/// server.
const LONGEST_WAIT: Duration = Duration::from_secs(32);
/// A key is held for so many times what its last try took, at least.
const TIMES_ITS_COST: u32 = 4;
/// The wait of the next event of a key with dead letters, where only others have to be applied in between.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// How long a key with a dead letter is known, though events of it are applied.
const KNOWN: Duration = Duration::from_secs(10 * 60);

/// Batches of others that are applied behind a failure, for it to be a control.
const APPLIED_BEHIND: u32 = 2;
/// So many batches of others in a row that were applied: the database does not fail by chance.
const CALM: u32 = 50;
/// For so long it counts that others were applied, where none are there to be tried.
const FRESH: Duration = Duration::from_secs(1);
/// For so long it counts that a probe succeeded which was as large as the event: until then a small one will do.
const LARGE_PROBE_COUNTS: Duration = Duration::from_secs(10);
/// How large the others are, at most.
const SMALL_PROBE: usize = 1_024;
/// The first wait after a probe that failed; each one is twice as long.
const FIRST_PROBE_WAIT: Duration = Duration::from_millis(100);
/// The longest: what the end of an outage may go unnoticed for.
const LONGEST_PROBE_WAIT: Duration = Duration::from_secs(5);

/// A key whose event met an outage on its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspect {
    /// The event's place in the log; none where the last one was applied.
    offset: Option<i64>,
    /// Its payload's size: a probe is as large.
    bytes: usize,
    /// The first time.
    pub(super) since: Duration,
    pub(super) tries: u32,
    /// How often its key was held for it.
    holds: u32,
    /// How often it failed while others succeeded right before and behind.
    pub(super) controls: u32,
    /// Batches of others that are still to be applied for the next control, if one has begun.
    control: Option<u32>,
    /// How many batches had been applied by the last time.
    applied: u64,
    /// How many probes had failed by then.
    failed_probes: u64,
    /// Others were applied while it failed.
    pub(super) is_alone: bool,
    /// Events of others were among them, not probes alone.
    pub(super) with_events: bool,
    /// How many earlier events of the key are dead letters for it, and none was applied since.
    pub(super) dead_letters: usize,
    /// An event of the key was a dead letter for it: until then it is known, though others of it are applied.
    known_until: Option<Duration>,
}

impl Suspect {
    /// Whether its failures say nothing of others: they were tried without it.
    pub(super) fn is_aside(&self) -> bool {
        self.is_alone || self.holds > 0
    }

    /// Whether an event of the key was a dead letter for it not long ago.
    pub(super) fn is_known(&self) -> bool {
        self.known_until.is_some()
    }

    fn begin_with(&mut self, offset: Option<i64>, now: Duration) {
        (self.offset, self.since) = (offset, now);
        (self.tries, self.holds, self.controls, self.control) = (0, 0, 0, None);
    }
}

/// How much presses for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressure {
    None,
    /// As much of its key waits as may.
    Key,
    /// Half as much waits in the partition as may.
    Partition,
}

/// What has to be known before a key is tried, which meets an outage alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Others succeed now. Or a probe failed: then it is tried once for that, as it may be well again.
    Nothing,
    /// Whether others succeed: a failure would say nothing else. With a payload of so many bytes.
    Probe(usize),
    /// The same, when a probe may be tried again.
    Wait,
}

/// A failure, as it is judged.
pub(super) struct LoneFailure {
    pub(super) suspect: Suspect,
    /// Since the failure before others were applied, the last of them, too.
    pub(super) others_were_applied: bool,
    /// Others were applied all the while.
    pub(super) is_calm: bool,
}

/// What the scheduler remembers of outages that single events met.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Batches and probes that succeeded.
    applied: u64,
    /// So many of them in a row.
    in_a_row: u32,
    /// When the last one did.
    applied_at: Duration,
    /// Whether the last batch of others that met a transaction at all was applied. A database that is away is no
    /// answer, and does not count.
    others_are_well: bool,
    /// They have become so, and it was not asked since.
    pub(super) is_over: bool,
    /// Keys that were set aside, and no batch was applied since.
    pub(super) set_aside: HashSet<Key>,
    /// Until an event of theirs is applied.
    keys: HashMap<Key, Suspect>,
    /// When the next probe may be tried, and how many failed in a row, and at all.
    pub(super) probe_from: Duration,
    failed_in_a_row: u32,
    failed_probes: u64,
    /// How large the last probe was that was as large as its event, and succeeded; and when. None since one failed.
    large_probe: Option<(usize, Duration)>,
    /// How large the one is that is under way, if it is such a one.
    large_under_way: Option<usize>,
    random: fastrand::Rng,
}

impl Suspects {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), ..Self::default() }
    }

    /// A batch was applied.
    pub(super) fn applied<E>(&mut self, batch: &[Task<E>], now: Duration) {
        self.set_aside.clear();
        if !self.keys.is_empty() {
            for task in batch {
                self.recovered(task.key(), now);
            }
        }
        for suspect in self.keys.values_mut() {
            suspect.with_events = true;
        }
        self.others_succeeded(now);
    }

    /// An event of the key was applied. Some of its events may be bad and others good, so after a dead letter it is
    /// known for a while: the next bad one is looked for neither among others' nor for as long.
    fn recovered(&mut self, key: &Key, now: Duration) {
        if let Some(suspect) = self.keys.get_mut(key)
            && suspect.known_until.is_some_and(|until| now < until)
        {
            suspect.begin_with(None, now);
            suspect.dead_letters = 0;
        } else {
            self.keys.remove(key);
        }
    }

    /// A probe succeeded. It is nobody's event: that ten keys and none else fail is an outage all the same.
    pub(super) fn probed(&mut self, now: Duration) {
        (self.probe_from, self.failed_in_a_row) = (now, 0);
        self.large_probe = self.large_under_way.take().map(|bytes| (bytes, now)).or(self.large_probe);
        self.others_succeeded(now);
    }

    /// A probe failed, for everybody or only because it is one: the next one waits.
    pub(super) fn probe_failed(&mut self, now: Duration, met_outage: bool) {
        let wait = FIRST_PROBE_WAIT.saturating_mul(2_u32.saturating_pow(self.failed_in_a_row)).min(LONGEST_PROBE_WAIT);
        self.probe_from = now + self.vary(wait);
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        self.failed_probes += 1;
        if self.large_under_way.take().is_some() {
            self.large_probe = None;
        }
        if met_outage {
            self.others_failed();
        }
    }

    fn others_succeeded(&mut self, now: Duration) {
        self.applied += 1;
        self.applied_at = now;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.is_over |= !std::mem::replace(&mut self.others_are_well, true);
        for suspect in self.keys.values_mut() {
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
    pub(super) fn others_failed(&mut self) {
        self.others_are_well = false;
        self.in_a_row = 0;
        for suspect in self.keys.values_mut() {
            suspect.control = None;
        }
    }

    /// How large a probe is to be, where one of the keys that are held waits for others to succeed.
    pub(super) fn waits_for_others<E>(&self, held: &Held<E>) -> Option<usize> {
        let is_decided = |suspect: &Suspect| suspect.is_alone || suspect.applied < self.applied;
        let waits = |suspect: &Suspect| suspect.is_aside() && (suspect.control.is_some() || !is_decided(suspect));
        let waiting = self.keys.iter().filter(|(key, suspect)| waits(suspect) && held.has(key));
        waiting.map(|(_, suspect)| suspect.bytes).max()
    }

    /// A probe is handed out, for an event whose payload has so many bytes; says how large it is to be. Perhaps it is
    /// only large events that fail, but many large probes would burden the database.
    pub(super) fn probe_for(&mut self, bytes: usize, now: Duration) -> usize {
        let is_known = |(size, at): (usize, Duration)| size >= bytes && now < at + LARGE_PROBE_COUNTS;
        let will_a_small_one_do = bytes > SMALL_PROBE && self.large_probe.is_some_and(is_known);
        self.large_under_way = (!will_a_small_one_do).then_some(bytes);
        if will_a_small_one_do { SMALL_PROBE } else { bytes }
    }

    /// What has to be known before a key is tried.
    pub(super) fn before(&self, key: &Key, now: Duration) -> Before {
        let Some(suspect) = self.keys.get(key) else { return Before::Nothing };
        if self.others_are_well && suspect.applied < self.applied && now <= self.applied_at + FRESH {
            Before::Nothing
        } else if now >= self.probe_from {
            Before::Probe(suspect.bytes)
        } else if suspect.failed_probes < self.failed_probes {
            Before::Nothing
        } else {
            Before::Wait
        }
    }

    /// The keys that met an outage alone.
    pub(super) fn alone(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|(_, suspect)| suspect.is_alone).map(|(key, _)| key)
    }

    /// Whether a key is set aside, and it is not decided whether it meets an outage alone.
    pub(super) fn is_undecided(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|suspect| suspect.is_aside() && !suspect.is_alone)
    }

    pub(super) fn is_alone(&self, key: &Key) -> bool {
        !self.keys.is_empty() && self.keys.get(key).is_some_and(|suspect| suspect.is_alone)
    }

    /// Whether a key that is held is so because its event met an outage on its own.
    pub(super) fn is_aside(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(Suspect::is_aside)
    }

    /// How far the case against a key is: whether it is known for dead letters, and its controls.
    pub(super) fn case(&self, key: &Key) -> (bool, u32) {
        self.keys.get(key).map_or((false, 0), |suspect| (suspect.is_known(), suspect.controls))
    }

    pub(super) fn set_aside_is_full(&self) -> bool {
        self.set_aside.len() >= MAX_SET_ASIDE
    }

    pub(super) fn may_set_aside(&self, key: &Key) -> bool {
        !self.set_aside_is_full() || self.set_aside.contains(key)
    }

    /// An event met an outage on its own.
    pub(super) fn failed<E>(&mut self, task: &Task<E>, now: Duration) -> LoneFailure {
        let key = task.key();
        if self.keys.len() >= MAX_SUSPECTS && !self.keys.contains_key(key) {
            self.keys.clear();
        }
        let (applied, others_are_well) = (self.applied, self.others_are_well);
        let is_calm = self.in_a_row >= CALM;
        let suspect = self.keys.entry(key.clone()).or_insert_with(|| Suspect {
            offset: Some(task.record.offset),
            since: now,
            applied,
            ..Suspect::default()
        });
        suspect.bytes = task.delivery.envelope.data.len();
        if suspect.offset != Some(task.record.offset) {
            suspect.begin_with(Some(task.record.offset), now);
        }
        suspect.tries += 1;
        suspect.failed_probes = self.failed_probes;
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
        LoneFailure { suspect, others_were_applied, is_calm }
    }

    /// Its key is held; says for how long, after a try that took so long.
    pub(super) fn held(&mut self, key: &Key, pressure: Pressure, cost: Duration) -> Duration {
        let Some(suspect) = self.keys.get_mut(key) else { return FIRST_WAIT };
        suspect.holds += 1;
        let is_pressed = suspect.is_alone && pressure != Pressure::None;
        let wait = if is_pressed && suspect.is_known() {
            SHORT_WAIT
        } else if is_pressed {
            FIRST_WAIT
        } else {
            FIRST_WAIT.saturating_mul(2_u32.saturating_pow(suspect.holds - 1)).min(LONGEST_WAIT)
        };
        // Where the partition is pressed it has its turn as soon as the others had theirs.
        let times = if is_pressed && pressure == Pressure::Partition { 0 } else { TIMES_ITS_COST };
        self.vary(wait.max(cost.saturating_mul(times)))
    }

    /// So many events of the key are dead letters; says how long the next one waits.
    pub(super) fn have_dead_letters(&mut self, key: &Key, dead_letters: usize, now: Duration) -> Duration {
        if let Some(suspect) = self.keys.get_mut(key) {
            suspect.known_until = Some(now + KNOWN);
            suspect.dead_letters = suspect.dead_letters.saturating_add(dead_letters);
        }
        self.vary(SHORT_WAIT)
    }

    pub(super) fn vary(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 + self.random.f64() / 2.0)
    }
}
