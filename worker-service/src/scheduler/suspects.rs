//! The keys whose events met an outage error on their own, and the evidence for each.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use shared::kafka::ids::Key;

use super::Task;
use super::held::Held;

/// The most failing keys to remember; beyond that all are dropped and the collection restarts.
pub(super) const MAX_SUSPECTS: usize = 10_000;
/// The most keys that are set aside before another key's event is applied: if more fail, it is an outage.
pub(super) const MAX_SET_ASIDE: usize = 10;
/// The first wait of a held key; each further one is twice as long, and up to half is added at random.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait. It is long because the partition waits for each try, which may take as long as the store's
/// deadline or crash the server.
const LONGEST_WAIT: Duration = Duration::from_secs(32);
/// A key is held for at least this many times the duration of its last try.
const TIMES_ITS_COST: u32 = 4;
/// The wait of the next event of a key with dead letters, if other keys only have to be applied in between.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// How long a key with a dead letter is remembered although events of it are applied.
const KNOWN: Duration = Duration::from_secs(10 * 60);

/// How many batches of other keys must be applied after a failure, for it to be a control.
const APPLIED_BEHIND: u32 = 2;
/// After this many applied batches of other keys in a row, the database does not fail at random.
const CALM: u32 = 50;
/// How long a success of other keys counts, if there are no other events to try.
const FRESH: Duration = Duration::from_secs(1);
/// How long a successful probe as large as the event counts: meanwhile small probes are enough.
const LARGE_PROBE_COUNTS: Duration = Duration::from_secs(10);
/// The size of a small probe, in bytes.
const SMALL_PROBE: usize = 1_024;
/// The first wait after a failed probe; each further one is twice as long.
const FIRST_PROBE_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between probes: the end of an outage is noticed at most this late.
const LONGEST_PROBE_WAIT: Duration = Duration::from_secs(5);

/// A key whose event met an outage on its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspect {
    /// The offset of the failing event; `None` if the key's last event was applied.
    offset: Option<i64>,
    /// The size of its payload: a probe is as large.
    bytes: usize,
    /// The time of its first failure.
    pub(super) since: Duration,
    pub(super) tries: u32,
    /// How often the key was held for it.
    holds: u32,
    /// How often it failed while other keys succeeded right before and after.
    pub(super) controls: u32,
    /// How many more batches of other keys must be applied for the next control, if one has begun.
    control: Option<u32>,
    /// How many batches had been applied at its last failure.
    applied: u64,
    /// How many probes had failed at its last failure.
    failed_probes: u64,
    /// Other keys' events or probes were applied while it failed.
    pub(super) is_alone: bool,
    /// Events were among these, not only probes.
    pub(super) with_events: bool,
    /// How many events of the key became dead letters for this error since one was last applied.
    pub(super) dead_letters: usize,
    /// Set after such a dead letter: until then the key is remembered although events of it are applied.
    known_until: Option<Duration>,
}

impl Suspect {
    /// Whether it is tried apart from other keys, so that its failures are no evidence about them.
    pub(super) fn is_aside(&self) -> bool {
        self.is_alone || self.holds > 0
    }

    /// Whether an event of the key recently became a dead letter for this error.
    pub(super) fn is_known(&self) -> bool {
        self.known_until.is_some()
    }

    fn begin_with(&mut self, offset: Option<i64>, now: Duration) {
        (self.offset, self.since) = (offset, now);
        (self.tries, self.holds, self.controls, self.control) = (0, 0, 0, None);
    }
}

/// How urgent a decision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressure {
    None,
    /// The events waiting in the key have reached the key's bound.
    Key,
    /// The held events of the partition have reached half of a bound.
    Partition,
}

/// What must happen before a key that was set aside is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing: other keys succeed now, or a probe failed since the last try; then the key is tried once, because it
    /// may have recovered.
    Nothing,
    /// A probe with a payload of this many bytes: unless others succeed, another failure of the key proves nothing.
    Probe(usize),
    /// A probe, but its wait is not over yet.
    Wait,
}

/// A failure of a single event, with the evidence to judge it.
pub(super) struct LoneFailure {
    pub(super) suspect: Suspect,
    /// Other batches succeeded since the previous failure, including the latest one.
    pub(super) others_were_applied: bool,
    /// At least [`CALM`] batches of other keys in a row were applied.
    pub(super) is_calm: bool,
}

/// The keys whose events met an outage error on their own, and the successes and failures of the others.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Batches and probes that succeeded.
    applied: u64,
    /// How many of these came in a row.
    in_a_row: u32,
    /// When the last one succeeded.
    applied_at: Duration,
    /// Whether the last batch of other keys that reached the database was applied. An unreachable database does not
    /// count either way.
    others_are_well: bool,
    /// `others_are_well` became true, and the caller has not yet taken note.
    pub(super) is_over: bool,
    /// The keys that were set aside since the last batch was applied.
    pub(super) set_aside: HashSet<Key>,
    /// Each stays until an event of its key is applied, or longer after a dead letter.
    keys: HashMap<Key, Suspect>,
    /// When the next probe may be tried; then, how many failed in a row and in total.
    pub(super) probe_from: Duration,
    failed_in_a_row: u32,
    failed_probes: u64,
    /// Size and time of the last full-size probe (as large as its event) if it succeeded.
    large_probe: Option<(usize, Duration)>,
    /// Size of the running probe, if it is full-size.
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

    /// An event of the key was applied. Some of its events may be bad and others good, so after a dead letter the key
    /// is remembered for a while: its next bad event is then found faster, and not in a batch with other keys.
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

    /// A probe succeeded. It is no event, so it does not clear `set_aside`: if the only events that there are fail,
    /// on [`MAX_SET_ASIDE`] keys, that is still an outage.
    pub(super) fn probed(&mut self, now: Duration) {
        (self.probe_from, self.failed_in_a_row) = (now, 0);
        self.large_probe = self.large_under_way.take().map(|bytes| (bytes, now)).or(self.large_probe);
        self.others_succeeded(now);
    }

    /// A probe failed, for a general reason or for one that concerns only probes: the next one waits.
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

    /// A batch met an outage error that no known key explains.
    pub(super) fn others_failed(&mut self) {
        self.others_are_well = false;
        self.in_a_row = 0;
        for suspect in self.keys.values_mut() {
            suspect.control = None;
        }
    }

    /// The size of the probe that is needed, if a held key waits for other keys to succeed.
    pub(super) fn waits_for_others<E>(&self, held: &Held<E>) -> Option<usize> {
        let is_decided = |suspect: &Suspect| suspect.is_alone || suspect.applied < self.applied;
        let waits = |suspect: &Suspect| suspect.is_aside() && (suspect.control.is_some() || !is_decided(suspect));
        let waiting = self.keys.iter().filter(|(key, suspect)| waits(suspect) && held.has(key));
        waiting.map(|(_, suspect)| suspect.bytes).max()
    }

    /// Starts a probe for an event whose payload has `bytes` bytes; returns the probe's size. It should be as large,
    /// because perhaps only large events fail, but many large probes would burden the database.
    pub(super) fn probe_for(&mut self, bytes: usize, now: Duration) -> usize {
        let is_known = |(size, at): (usize, Duration)| size >= bytes && now < at + LARGE_PROBE_COUNTS;
        let will_a_small_one_do = bytes > SMALL_PROBE && self.large_probe.is_some_and(is_known);
        self.large_under_way = (!will_a_small_one_do).then_some(bytes);
        if will_a_small_one_do { SMALL_PROBE } else { bytes }
    }

    /// What must happen before the key is tried.
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

    /// Whether a key is set aside and it is still open whether it alone meets an outage.
    pub(super) fn is_undecided(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|suspect| suspect.is_aside() && !suspect.is_alone)
    }

    pub(super) fn is_alone(&self, key: &Key) -> bool {
        !self.keys.is_empty() && self.keys.get(key).is_some_and(|suspect| suspect.is_alone)
    }

    /// Whether a held key is held because its event met an outage on its own.
    pub(super) fn is_aside(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(Suspect::is_aside)
    }

    /// The evidence against a key: whether it is remembered for dead letters, and its controls.
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

    /// The key is held after a try that took `cost`; returns for how long.
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
        // Under the partition's pressure the key is due as soon as the others have had their turn.
        let times = if is_pressed && pressure == Pressure::Partition { 0 } else { TIMES_ITS_COST };
        self.vary(wait.max(cost.saturating_mul(times)))
    }

    /// This many more events of the key became dead letters; returns how long the next one waits.
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
