//! The model of a partition, its records and the store.

use shared::kafka::ids::Key;

use super::*;

/// How a record behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    Undecodable,
    UnknownType,
    Rejected,
    Panics,
    /// Fails until this many seconds have passed.
    FailsUntil(u64),
    FailsAlways,
    /// Alone meets an outage error, until this many seconds have passed.
    AloneUntil(u64),
    Alone,
}

/// The fate of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Fine,
    /// The store is away.
    Outage,
    /// The transaction fails in the middle.
    OutageMet,
    Conflict,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) scheduler: Scheduler,
    pub(super) now: Duration,
    pub(super) records: BTreeMap<i64, (u8, Kind)>,
    /// The offsets that this scheduler has received, and those that it has finished.
    pub(super) arrived: BTreeSet<i64>,
    pub(super) done: BTreeSet<i64>,
    /// The offsets that were applied.
    pub(super) applied: BTreeSet<i64>,
    pub(super) letters: BTreeMap<i64, (Reason, u32)>,
    pub(super) luck: Vec<Luck>,
    /// Every transaction meets an outage until then.
    pub(super) outage_until: Duration,
    /// Transactions that were applied.
    pub(super) transactions: usize,
    /// By offset, when an event first met an outage on its own, and how many transactions had been applied by then.
    pub(super) met_at: BTreeMap<i64, (Duration, usize)>,
    /// Whether half of a bound on held events was reached with the last batch.
    pub(super) half_full: bool,
    /// The failing keys, and how often the event at each offset failed on its own.
    pub(super) failing: BTreeMap<u8, failing::FailingDevice>,
    pub(super) tries: BTreeMap<i64, u32>,
    /// For the budget: the records finished since the last pause, with the key if it was a dead letter; and the
    /// dead letters that were let through.
    pub(super) ends: Vec<Option<u8>>,
    pub(super) let_through: BTreeSet<i64>,
    /// How often a scheduler was lost, with its unfinished records.
    pub(super) crashes: usize,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new(Settings::default(), 0)
    }
}

impl World {
    pub(super) fn new(settings: Settings, records: &[(i64, u8, Kind)], luck: Vec<Luck>) -> Self {
        let mut offset = 100;
        let records = records
            .iter()
            .map(|&(gap, key, kind)| {
                offset += gap;
                (offset, (key, kind))
            })
            .collect();
        Self { scheduler: Scheduler::new(settings.clone(), 1), settings, records, luck, ..Self::default() }
    }

    /// The partition is lost in the middle of its work, and another scheduler starts at the committed offset.
    pub(super) fn crash(&mut self, committed: Option<i64>) {
        self.scheduler = Scheduler::new(self.settings.clone(), 2);
        self.arrived.retain(|offset| committed.is_some_and(|committed| *offset < committed));
        self.done.clone_from(&self.arrived);
        self.ends.clear();
        self.let_through.clear();
        self.met_at.clear();
        self.failing.clear();
        self.tries.clear();
        self.crashes += 1;
    }

    pub(super) fn arrive(&mut self, at_most: usize) {
        let new: Vec<_> =
            self.records.iter().filter(|(offset, _)| !self.arrived.contains(offset)).take(at_most).collect();
        for (&offset, &(key, kind)) in new {
            if !self.scheduler.has_room() {
                break;
            }
            let decoded = match kind {
                Kind::Undecodable => Err(no_event()),
                Kind::UnknownType => Err(Refusal { reason: Reason::UnknownType, ..no_event() }),
                _ => Ok(decoded(offset, key)),
            };
            self.scheduler.arrive(sized(offset, key), decoded);
            self.arrived.insert(offset);
        }
        let (scheduler, at_most) = (&self.scheduler, &self.settings);
        assert!(scheduler.records + scheduler.held.records() < 2 * at_most.batch_records + at_most.held_records);
        let largest = 4_000;
        assert!(scheduler.bytes + scheduler.held.bytes() < 2 * at_most.batch_bytes + at_most.held_bytes + 2 * largest);
    }

    pub(super) fn has_effect(&self, offset: i64) -> bool {
        self.applied.contains(&offset) || self.letters.contains_key(&offset)
    }

    pub(super) fn fails(&self, offset: i64) -> Option<Class> {
        match self.records[&offset].1 {
            Kind::Rejected => Some(Class::Poison),
            Kind::FailsAlways => Some(Class::Failed),
            Kind::Panics => Some(Class::Panicked),
            Kind::FailsUntil(until) if self.now < Duration::from_secs(until) => Some(Class::Failed),
            Kind::Alone => Some(Class::OutageMet),
            Kind::AloneUntil(until) if self.now < Duration::from_secs(until) => Some(Class::OutageMet),
            _ => None,
        }
    }

    /// Runs one transaction, and checks that it may be tried at all.
    pub(super) fn apply(&mut self, batch: &[Task]) -> Result<(), Failure> {
        assert!((1..=self.settings.batch_records).contains(&batch.len()));
        let bytes: usize = batch.iter().map(Task::size).sum();
        assert!(batch.len() == 1 || bytes <= self.settings.batch_bytes, "{bytes} bytes");
        let mut before = BTreeSet::new();
        for task in batch {
            let offset = task.record.offset;
            assert!(!self.has_effect(offset) || self.crashes > 0, "{offset} is applied twice");
            let key = self.records[&offset].0;
            for (&earlier, _) in self.records.range(..offset).filter(|(_, (d, _))| *d == key) {
                let decided = self.has_effect(earlier)
                    || before.contains(&earlier)
                    || self.scheduler.dead_letters.iter().any(|letter| letter.record.offset == earlier);
                assert!(decided, "{offset} is tried before {earlier}");
            }
            before.insert(offset);
        }
        if let Some(class) = self.everybody().or_else(|| batch.iter().find_map(|task| self.fails(task.record.offset))) {
            self.note_outage(batch, class);
            if let (Class::Failed | Class::Panicked, [task]) = (class, batch) {
                self.note_failure(task.record.offset);
            }
            return Err(error(class));
        }
        self.transactions += 1;
        for offset in &before {
            self.failing.remove(&self.records[offset].0);
        }
        self.ends.extend(batch.iter().filter(|task| !task.record.is_redriven()).map(|_| None));
        self.done.extend(&before);
        self.applied.extend(before);
        Ok(())
    }

    /// The failure that the next transaction meets, whatever it contains.
    fn everybody(&mut self) -> Option<Class> {
        match self.luck.pop().unwrap_or(Luck::Fine) {
            Luck::Fine => (self.now < self.outage_until).then_some(Class::OutageMet),
            Luck::Outage => Some(Class::Outage),
            Luck::OutageMet => Some(Class::OutageMet),
            Luck::Conflict => Some(Class::Again),
        }
    }

    /// Whether a dead letter of this key has to wait for an operator.
    pub(super) fn is_over_the_budget(&self, key: u8) -> bool {
        let last = self.ends.iter().rev().take(self.settings.budget_window).flatten();
        let keys: BTreeSet<_> = last.clone().copied().chain([key]).collect();
        last.count() >= self.settings.budget_dead_letters && keys.len() > self.settings.budget_keys
    }

    /// Counts dead letters that are sent: each counts once, however often it is sent.
    pub(super) fn count(&mut self, letters: &[DeadLetter]) {
        let counts = |letter: &&DeadLetter| {
            !letter.record.is_redriven() && !matches!(letter.reason, Reason::UnknownType | Reason::UnknownError)
        };
        for letter in letters.iter().filter(counts) {
            let key = self.records[&letter.record.offset].0;
            if self.let_through.insert(letter.record.offset) {
                assert!(!self.is_over_the_budget(key), "{} is too much", letter.record.offset);
                self.ends.push(Some(key));
            }
        }
    }

    /// One step; false if there is nothing left to do.
    pub(super) fn step(&mut self) -> bool {
        self.step_while_arrive(0)
    }

    /// One step, during which this many records come in.
    pub(super) fn step_while_arrive(&mut self, meanwhile: usize) -> bool {
        match self.scheduler.next(self.now) {
            Action::Apply(batch) => {
                self.arrive(meanwhile);
                let result = self.apply(&batch);
                let (count, key, offset) = (batch.len(), batch[0].key().clone(), batch[0].record.offset);
                let failed = result.as_ref().err().map(|error| error.class);
                self.half_full = self.scheduler.pressure_of(&batch[0]) == suspects::Pressure::Partition;
                let after = self.scheduler.applied(batch, result, self.now);
                assert!(
                    match (failed, after) {
                        (None, None) => true,
                        (Some(Class::Again), Some(AfterFailure::TriedAgain)) => true,
                        (Some(Class::Outage | Class::Again | Class::OutageMet), Some(AfterFailure::Waits)) =>
                            self.scheduler.outage().is_some(),
                        (None | Some(Class::Outage), _) | (Some(Class::Poison), Some(AfterFailure::Held(_))) => false,
                        (Some(Class::Again | Class::OutageMet), Some(AfterFailure::HeldAlone(_)))
                        | (Some(_), Some(AfterFailure::Held(_))) => count == 1 && self.scheduler.held.has(&key),
                        (Some(_), Some(AfterFailure::Split)) => count > 1,
                        (Some(_), Some(AfterFailure::DeadLetter)) =>
                            count == 1 && !self.scheduler.dead_letters.is_empty(),
                        _ => false,
                    },
                    "{count} failed with {failed:?}, and the scheduler says {after:?}"
                );
                if let (Some(Class::Failed | Class::Panicked), Some(after), 1) = (failed, after, count) {
                    self.check_failure(offset, after);
                }
            }
            Action::Probe(_) => {
                self.arrive(meanwhile);
                let waits = self.scheduler.held.keys() > 0 && self.scheduler.work.is_empty();
                assert!(waits, "there is nobody for whom it is to be known, or others are there to be tried");
                let failed = self.everybody();
                self.transactions += usize::from(failed.is_none());
                self.scheduler.probed(failed.map_or(Ok(()), |class| Err(error(class))), self.now);
                let is_outage = matches!(failed, Some(Class::Outage | Class::OutageMet));
                assert!(failed.is_some() || self.scheduler.outage().is_none());
                assert!(!is_outage || self.scheduler.outage().is_some());
            }
            Action::DeadLetter(letters) => {
                self.check_outages(&letters);
                self.arrive(meanwhile);
                self.count(&letters);
                // Kafka refuses all of them, every second one, or none.
                let luck = self.luck.pop().unwrap_or(Luck::Fine);
                let taken = |n: usize| luck == Luck::Fine || (luck == Luck::Conflict && n % 2 == 1);
                let mut sent = Vec::new();
                for (n, letter) in letters.into_iter().enumerate() {
                    if !taken(n) {
                        sent.push((letter, Err("refused".into())));
                        continue;
                    }
                    let twice = self.letters.insert(letter.record.offset, (letter.reason, letter.attempts));
                    let once = twice.is_none() && !self.applied.contains(&letter.record.offset);
                    assert!(once || self.crashes > 0);
                    self.done.insert(letter.record.offset);
                    sent.push((letter, Ok(())));
                }
                self.scheduler.dead_lettered(sent, self.now);
            }
            Action::Pause => {
                let first = self.scheduler.dead_letters.front().unwrap().record.offset;
                assert!(self.is_over_the_budget(self.records[&first].0), "paused without need");
                assert!(matches!(self.scheduler.next(self.now), Action::Wait(None)) && !self.scheduler.has_room());
                self.scheduler.resume();
                self.ends.clear();
            }
            Action::Wait(until) => {
                if self.scheduler.outage().is_none() {
                    self.only_held_keys_wait();
                }
                let Some(until) = until else { return false };
                assert!(until > self.now);
                let soon = if self.others_report() { self.now + Duration::from_secs(5) } else { until };
                self.now = until.min(soon);
            }
        }
        let first_without = self.arrived.iter().find(|offset| !self.done.contains(offset)).copied();
        let end = self.arrived.last().map(|last| last + 1);
        assert_eq!(self.scheduler.watermark(), first_without.or(end), "the watermark");
        true
    }

    /// A failing event holds up its own key, never its partition.
    pub(super) fn only_held_keys_wait(&self) {
        for (offset, (key, _)) in self.records.iter().filter(|(offset, _)| self.arrived.contains(offset)) {
            assert!(
                self.done.contains(offset) || self.scheduler.held.has(&Key::from(format!("d{key}"))),
                "{offset} waits, and its key is not held"
            );
        }
    }

    pub(super) fn run(self, chunks: &[usize]) -> Self {
        self.run_with_crashes(chunks, &[])
    }

    /// Loses the scheduler after each of these numbers of steps; the committed offset is then the watermark of an
    /// earlier step.
    pub(super) fn run_with_crashes(mut self, chunks: &[usize], crashes: &[(usize, usize)]) -> Self {
        let mut chunks = chunks.iter().copied().chain(std::iter::repeat(3));
        let mut crashes = crashes.iter().copied();
        let mut crash = crashes.next();
        let mut committed = vec![None];
        for _ in 0..100_000 {
            self.arrive(chunks.next().unwrap_or(1));
            let more = self.step_while_arrive(chunks.next().unwrap_or(1));
            committed.push(self.scheduler.watermark().or(committed.last().copied().flatten()));
            match crash {
                Some((0, late)) => {
                    let at = committed.len().saturating_sub(1 + late);
                    committed.truncate(at.max(1));
                    self.crash(committed.last().copied().flatten());
                    crash = crashes.next();
                }
                Some((steps, late)) => crash = Some((steps - 1, late)),
                None if !more && self.arrived.len() == self.records.len() => return self,
                None => {}
            }
        }
        panic!("it does not end");
    }
}

pub(super) fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => Just(Kind::Good),
        1 => Just(Kind::Undecodable),
        1 => Just(Kind::UnknownType),
        1 => Just(Kind::Rejected),
        1 => Just(Kind::Panics),
        1 => (1..20u64).prop_map(Kind::FailsUntil),
        1 => Just(Kind::FailsAlways),
    ]
}

pub(super) fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Fine),
        1 => Just(Luck::Outage),
        1 => Just(Luck::OutageMet),
        1 => Just(Luck::Conflict),
    ]
}

pub(super) fn history(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Vec<(i64, u8, Kind)>> {
    prop::collection::vec((1..3i64, 0..4u8, kind), 0..40)
}
