//! The lane against a model: a world that applies batches, fails as it is told to, and checks at
//! every step what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use shared::event::{Event, EventType, Payload};
use shared::position::Position;
use shared::topic::Reason;
use time::OffsetDateTime;

use super::*;

mod unknown;

/// All letters taken, or none of them.
fn sent(letters: Vec<DeadLetter>, result: Result<(), &str>) -> Vec<(DeadLetter, Result<(), String>)> {
    letters.into_iter().map(|letter| (letter, result.map_err(str::to_owned))).collect()
}

fn error(class: Class) -> StoreError {
    StoreError { class, message: format!("{class:?}") }
}

fn no_event() -> Refusal {
    Refusal { reason: Reason::Undecodable, error: "no event".into() }
}

fn record(offset: i64, device: u8, value: &[u8]) -> Record {
    let mut record = Record::new(Some(format!("d{device}").as_bytes()), Some(value), &[]);
    record.offset = offset;
    record
}

fn decoded(offset: i64, device: u8) -> Decoded {
    let at = OffsetDateTime::UNIX_EPOCH;
    Decoded {
        event: Event {
            device_id: format!("d{device}").parse().unwrap(),
            event_id: format!("e{offset}").parse().unwrap(),
            event_type: EventType::DeviceReported,
            payload: Payload::check(Bytes::from_static(b"{}"), "").unwrap(),
            occurred_at: at,
            accepted_at: at,
            request_id: None,
            user_id: None,
            traceparent: None,
        },
        position: Position {
            topic: "t".into(),
            partition: 0,
            offset,
            appended_at: at,
            redriven: false,
            create_time: false,
        },
    }
}

fn small() -> Settings {
    Settings {
        batch_records: 4,
        batch_bytes: 3_000,
        held_records: 6,
        held_bytes: 5_000,
        held_alone_records: 3,
        held_alone_bytes: usize::MAX,
        ration_letters: 3,
        ration_devices: 1,
        ration_window: 8,
    }
}

/// Records of all sizes up to a batch's, and some that were redriven.
fn sized(offset: i64, device: u8) -> Record {
    let value = vec![b' '; usize::try_from(offset * 677 % 2_000).unwrap()];
    let redriven = [("origin.topic", Some(&b"t"[..]))];
    let headers = if offset % 7 == 3 { &redriven[..] } else { &[] };
    let mut record = Record::new(Some(format!("d{device}").as_bytes()), Some(&value), headers);
    record.offset = offset;
    record
}

/// What is the matter with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Undecodable,
    UnknownType,
    Rejected,
    Panics,
    /// Fails until that many seconds have gone by.
    FailsUntil(u64),
    FailsAlways,
    /// Meets an error that is not known, until that many seconds have gone by.
    UnknownUntil(u64),
    Unknown,
}

/// What happens to one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Fine,
    Outage,
    Conflict,
}

struct World {
    settings: Settings,
    lane: Lane,
    now: Duration,
    records: BTreeMap<i64, (u8, Kind)>,
    /// What this lane has got, and what it has brought to an end.
    arrived: BTreeSet<i64>,
    done: BTreeSet<i64>,
    /// Offsets that have had their effect.
    applied: BTreeSet<i64>,
    letters: BTreeMap<i64, (Reason, u32)>,
    luck: Vec<Luck>,
    /// Until when every transaction meets an error that is not known.
    unknown_until: Duration,
    /// Transactions so far, and the last one that was applied.
    tries: usize,
    last_applied: usize,
    /// By device, the transaction and the time in which an event of it first met such an error on its own, since one of
    /// its events was applied; and by offset.
    met: BTreeMap<u8, usize>,
    met_at: BTreeMap<i64, Duration>,
    /// For the ration: what came to an end since the last pause, for a letter its device; and the
    /// letters that were let through.
    ends: Vec<Option<u8>>,
    let_through: BTreeSet<i64>,
    /// How often a lane was lost, with what was in hand.
    crashes: usize,
}

impl World {
    fn new(settings: Settings, records: &[(i64, u8, Kind)], luck: Vec<Luck>) -> Self {
        let mut offset = 100;
        let records = records
            .iter()
            .map(|&(gap, device, kind)| {
                offset += gap;
                (offset, (device, kind))
            })
            .collect();
        Self {
            lane: Lane::new(settings.clone(), 1),
            settings,
            now: Duration::ZERO,
            records,
            arrived: BTreeSet::new(),
            done: BTreeSet::new(),
            applied: BTreeSet::new(),
            letters: BTreeMap::new(),
            luck,
            unknown_until: Duration::ZERO,
            tries: 0,
            last_applied: 0,
            met: BTreeMap::new(),
            met_at: BTreeMap::new(),
            ends: Vec::new(),
            let_through: BTreeSet::new(),
            crashes: 0,
        }
    }

    /// The partition is lost in the middle of everything, and another lane begins at what was
    /// committed.
    fn crash(&mut self, committed: Option<i64>) {
        self.lane = Lane::new(self.settings.clone(), 2);
        self.arrived.retain(|offset| committed.is_some_and(|committed| *offset < committed));
        self.done.clone_from(&self.arrived);
        self.ends.clear();
        self.let_through.clear();
        self.crashes += 1;
    }

    fn arrive(&mut self, at_most: usize) {
        let new: Vec<_> =
            self.records.iter().filter(|(offset, _)| !self.arrived.contains(offset)).take(at_most).collect();
        for (&offset, &(device, kind)) in new {
            if !self.lane.has_room() {
                break;
            }
            let decoded = match kind {
                Kind::Undecodable => Err(no_event()),
                Kind::UnknownType => Err(Refusal { reason: Reason::UnknownType, ..no_event() }),
                _ => Ok(decoded(offset, device)),
            };
            self.lane.arrive(sized(offset, device), decoded);
            self.arrived.insert(offset);
        }
        let (lane, at_most) = (&self.lane, &self.settings);
        assert!(lane.records + lane.held.records() < 2 * at_most.batch_records + at_most.held_records);
        let largest = 4_000;
        assert!(lane.bytes + lane.held.bytes() < 2 * at_most.batch_bytes + at_most.held_bytes + 2 * largest);
    }

    fn has_effect(&self, offset: i64) -> bool {
        self.applied.contains(&offset) || self.letters.contains_key(&offset)
    }

    fn fails(&self, offset: i64) -> Option<Class> {
        match self.records[&offset].1 {
            Kind::Rejected => Some(Class::Poison),
            Kind::FailsAlways => Some(Class::Failed),
            Kind::Panics => Some(Class::Panicked),
            Kind::FailsUntil(until) if self.now < Duration::from_secs(until) => Some(Class::Failed),
            Kind::Unknown => Some(unknown::class()),
            Kind::UnknownUntil(until) if self.now < Duration::from_secs(until) => Some(unknown::class()),
            _ => None,
        }
    }

    /// One transaction, and whether it may be tried at all.
    fn apply(&mut self, batch: &[Task]) -> Result<(), StoreError> {
        assert!((1..=self.settings.batch_records).contains(&batch.len()));
        let bytes: usize = batch.iter().map(Task::size).sum();
        assert!(batch.len() == 1 || bytes <= self.settings.batch_bytes, "{bytes} bytes");
        let mut before = BTreeSet::new();
        for task in batch {
            let offset = task.record.offset;
            assert!(!self.has_effect(offset) || self.crashes > 0, "{offset} is applied twice");
            let device = self.records[&offset].0;
            for (&earlier, _) in self.records.range(..offset).filter(|(_, (d, _))| *d == device) {
                let decided = self.has_effect(earlier)
                    || before.contains(&earlier)
                    || self.lane.letters.iter().any(|letter| letter.record.offset == earlier);
                assert!(decided, "{offset} is tried before {earlier}");
            }
            before.insert(offset);
        }
        match self.luck.pop().unwrap_or(Luck::Fine) {
            Luck::Fine => {}
            Luck::Outage => return Err(error(Class::Outage)),
            Luck::Conflict => return Err(error(Class::Again)),
        }
        self.tries += 1;
        let everybody = (self.now < self.unknown_until).then(unknown::class);
        match everybody.or_else(|| batch.iter().find_map(|task| self.fails(task.record.offset))) {
            Some(class) => {
                self.note_unknown(batch, class);
                Err(error(class))
            }
            None => {
                self.last_applied = self.tries;
                for offset in &before {
                    self.met.remove(&self.records[offset].0);
                }
                self.ends.extend(batch.iter().filter(|task| !task.record.is_redriven()).map(|_| None));
                self.done.extend(&before);
                self.applied.extend(before);
                Ok(())
            }
        }
    }

    /// Whether a letter of this device has to wait for an operator.
    fn is_over_the_ration(&self, device: u8) -> bool {
        let last = self.ends.iter().rev().take(self.settings.ration_window).flatten();
        let devices: BTreeSet<_> = last.clone().copied().chain([device]).collect();
        last.count() >= self.settings.ration_letters && devices.len() > self.settings.ration_devices
    }

    /// Letters go out; each counts once, however often it has to be sent.
    fn count(&mut self, letters: &[DeadLetter]) {
        let counts = |letter: &&DeadLetter| {
            !letter.record.is_redriven() && !matches!(letter.reason, Reason::UnknownType | Reason::UnknownError)
        };
        for letter in letters.iter().filter(counts) {
            let device = self.records[&letter.record.offset].0;
            if self.let_through.insert(letter.record.offset) {
                assert!(!self.is_over_the_ration(device), "{} is too much", letter.record.offset);
                self.ends.push(Some(device));
            }
        }
    }

    /// One step; false when there is nothing left to do.
    fn step(&mut self) -> bool {
        self.step_while_arrive(0)
    }

    /// One step, while so many records come in.
    fn step_while_arrive(&mut self, meanwhile: usize) -> bool {
        match self.lane.next(self.now) {
            Next::Apply(batch) => {
                self.arrive(meanwhile);
                let result = self.apply(&batch);
                let (count, device) = (batch.len(), batch[0].device().clone());
                let failed = result.as_ref().err().map(|error| error.class);
                let after = self.lane.applied(batch, result, self.now);
                assert!(
                    match (failed, after) {
                        (None, None) => true,
                        (Some(Class::Again), Some(AfterFailure::TriedAgain)) => true,
                        (Some(Class::Again | Class::Outage | Class::Unknown(_)), Some(AfterFailure::Waits)) =>
                            self.lane.outage().is_some(),
                        (Some(Class::Unknown(_)), Some(AfterFailure::Split)) => count > 1,
                        (Some(Class::Unknown(_)), Some(AfterFailure::Held(_) | AfterFailure::HeldAlone(_))) =>
                            count == 1 && self.lane.held.has(&device),
                        (Some(Class::Unknown(_)), Some(AfterFailure::DeadLetter)) =>
                            count == 1 && !self.lane.letters.is_empty(),
                        (Some(Class::Poison | Class::Failed | Class::Panicked), Some(AfterFailure::Split)) => count > 1,
                        (Some(Class::Failed | Class::Panicked), Some(AfterFailure::Held(_))) =>
                            count == 1 && self.lane.held.has(&device),
                        (Some(Class::Poison | Class::Failed | Class::Panicked), Some(AfterFailure::DeadLetter)) =>
                            count == 1 && !self.lane.letters.is_empty(),
                        _ => false,
                    },
                    "{count} failed with {failed:?}, and the lane says {after:?}"
                );
            }
            Next::DeadLetter(letters) => {
                self.check_unknown(&letters);
                self.arrive(meanwhile);
                self.count(&letters);
                // Refused together, or every second one, or none.
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
                self.lane.dead_lettered(sent, self.now);
            }
            Next::Pause => {
                let first = self.lane.letters.front().unwrap().record.offset;
                assert!(self.is_over_the_ration(self.records[&first].0), "paused without need");
                assert!(matches!(self.lane.next(self.now), Next::Wait(None)) && !self.lane.has_room());
                self.lane.resume();
                self.ends.clear();
            }
            Next::Wait(until) => {
                if self.lane.outage().is_none() {
                    self.only_held_devices_wait();
                }
                match until {
                    Some(until) => {
                        assert!(until > self.now);
                        self.now = until;
                        self.others_report();
                    }
                    None => return false,
                }
            }
        }
        let first_without = self.arrived.iter().find(|offset| !self.done.contains(offset)).copied();
        let end = self.arrived.last().map(|last| last + 1);
        assert_eq!(self.lane.watermark(), first_without.or(end), "the watermark");
        true
    }

    /// A failing event holds up its own device, never its partition.
    fn only_held_devices_wait(&self) {
        for (offset, (device, _)) in self.records.iter().filter(|(offset, _)| self.arrived.contains(offset)) {
            assert!(
                self.done.contains(offset) || self.lane.held.has(&format!("d{device}").parse().unwrap()),
                "{offset} waits, and its device is not held"
            );
        }
    }

    fn run(self, chunks: &[usize]) -> Self {
        self.run_with_crashes(chunks, &[])
    }

    /// Lets the lane be lost after so many steps each time; what is committed by then is the
    /// watermark of some step before.
    fn run_with_crashes(mut self, chunks: &[usize], crashes: &[(usize, usize)]) -> Self {
        let mut chunks = chunks.iter().copied().chain(std::iter::repeat(3));
        let mut crashes = crashes.iter().copied();
        let mut crash = crashes.next();
        let mut committed = vec![None];
        for _ in 0..100_000 {
            self.arrive(chunks.next().unwrap_or(1));
            let more = self.step_while_arrive(chunks.next().unwrap_or(1));
            committed.push(self.lane.watermark().or(committed.last().copied().flatten()));
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

fn kind() -> impl Strategy<Value = Kind> {
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

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![6 => Just(Luck::Fine), 1 => Just(Luck::Outage), 1 => Just(Luck::Conflict)]
}

fn history(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Vec<(i64, u8, Kind)>> {
    prop::collection::vec((1..3i64, 0..4u8, kind), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_record_has_exactly_one_effect_in_the_order_of_its_device(
        records in history(kind()),
        chunks in prop::collection::vec(0..7usize, 0..20),
        luck in prop::collection::vec(luck(), 0..30),
    ) {
        let world = World::new(small(), &records, luck).run(&chunks);
        for (&offset, &(_, kind)) in &world.records {
            let letter = world.letters.get(&offset);
            prop_assert!(world.applied.contains(&offset) != letter.is_some());
            match (kind, letter) {
                (Kind::Good, None) | (Kind::FailsUntil(_), None) => {}
                (Kind::Undecodable, Some((Reason::Undecodable, 1))) => {}
                (Kind::UnknownType, Some((Reason::UnknownType, 1))) => {}
                (Kind::Rejected, Some((Reason::Rejected, _))) => {}
                // One try where the device had failed before, else four.
                (Kind::FailsAlways | Kind::FailsUntil(_), Some((Reason::Failed, attempts)))
                | (Kind::Panics, Some((Reason::Panicked, attempts))) => {
                    prop_assert!((1..=4).contains(attempts));
                }
                other => prop_assert!(false, "{offset}: {other:?}"),
            }
        }
        prop_assert_eq!((world.lane.records, world.lane.bytes, world.lane.held.records(), world.lane.held.bytes()), (0, 0, 0, 0));
        prop_assert!(world.lane.is_empty());
    }

    #[test]
    fn a_lane_lost_at_any_step_loses_nothing_and_keeps_the_order(
        records in history(kind()),
        chunks in prop::collection::vec(0..7usize, 0..20),
        luck in prop::collection::vec(luck(), 0..30),
        crashes in prop::collection::vec((0..25usize, 0..4usize), 1..4),
    ) {
        let world = World::new(small(), &records, luck).run_with_crashes(&chunks, &crashes);
        prop_assert_eq!(world.crashes, crashes.len());
        for (&offset, &(_, kind)) in &world.records {
            prop_assert!(world.has_effect(offset), "{} is lost", offset);
            if kind == Kind::Good {
                prop_assert!(!world.letters.contains_key(&offset));
            }
        }
    }

    #[test]
    fn an_outage_is_never_a_dead_letter(
        records in history(Just(Kind::Good)), luck in prop::collection::vec(luck(), 0..60)
    ) {
        let world = World::new(small(), &records, luck).run(&[]);
        prop_assert_eq!(world.letters.len(), 0);
        prop_assert_eq!(world.applied.len(), world.records.len());
    }
}

#[test]
fn an_hour_without_the_store_leaves_no_dead_letter() {
    // One of them failed, and was held, just before.
    let records = [(1, 2, Kind::FailsUntil(1)), (1, 0, Kind::Good), (1, 1, Kind::Good), (1, 2, Kind::Good)];
    let mut world = World::new(small(), &records, Vec::new());
    world.arrive(1);
    assert!(world.step() && world.lane.held_devices() == 1);
    world.arrive(3);
    while world.now < Duration::from_secs(3600) {
        world.luck = vec![Luck::Outage];
        world.step();
        assert!(world.lane.outage().is_some());
    }
    world.luck.clear();
    let world = world.run(&[]);
    assert_eq!((world.applied.len(), world.letters.len()), (4, 0));
}

#[test]
fn a_store_too_slow_for_a_whole_batch_gets_it_in_pieces() {
    let mut lane = Lane::new(Settings::default(), 0);
    for offset in 0..1_000 {
        lane.arrive(record(offset, u8::try_from(offset % 50).unwrap(), b"{}"), Ok(decoded(offset, 0)));
    }
    let (mut now, mut applied) = (Duration::ZERO, Vec::new());
    while lane.watermark() != Some(1_000) {
        match lane.next(now) {
            // What takes longer than the store's deadline: again and again, for ever.
            Next::Apply(batch) if batch.len() > 100 => {
                let after = lane.applied(batch, Err(error(Class::Outage)), now);
                assert_eq!(after, Some(AfterFailure::Waits));
            }
            Next::Apply(batch) => {
                applied.extend(batch.iter().map(|task| task.record.offset));
                lane.applied(batch, Ok(()), now);
            }
            Next::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
        assert!(now < Duration::from_secs(300), "it does not get through");
    }
    assert!(applied.is_sorted() && applied.len() == 1_000);
    assert_eq!(lane.outage(), None);
}

#[test]
fn an_outage_leaves_few_small_batches_behind() {
    let mut lane = Lane::new(Settings::default(), 0);
    for offset in 0..1_000 {
        lane.arrive(record(offset, 0, b"{}"), Ok(decoded(offset, 0)));
    }
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(3_600) {
        match lane.next(now) {
            Next::Apply(batch) => {
                let after = lane.applied(batch, Err(error(Class::Outage)), now);
                assert_eq!(after, Some(AfterFailure::Waits));
            }
            Next::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(lane.work.len() <= 12, "{}", lane.work.len());
}

#[test]
fn several_bad_events_are_found_also_of_one_device() {
    use Kind::{Good, Rejected};
    let records = [
        (1, 0, Rejected),
        (1, 1, Good),
        (1, 0, Good),
        (1, 0, Rejected),
        (1, 2, Rejected),
        (1, 0, Good),
        (1, 1, Good),
        (1, 2, Good),
    ];
    let settings = Settings::default();
    let world = World::new(settings, &records, Vec::new()).run(&[8]);
    assert_eq!(world.letters.keys().copied().collect::<Vec<_>>(), [101, 104, 105]);
    assert!(world.letters.values().all(|letter| *letter == (Reason::Rejected, 1)));
    assert_eq!(world.applied.len(), 5);
    assert_eq!(world.now, Duration::ZERO, "nobody waited");
}

#[test]
fn a_log_that_begins_anew_is_not_committed_past_its_end() {
    let mut lane = Lane::new(Settings::default(), 0);
    let take = |lane: &mut Lane, offsets: std::ops::Range<i64>| {
        for offset in offsets {
            lane.arrive(record(offset, 0, b"{}"), Ok(decoded(offset, 0)));
        }
        let Next::Apply(batch) = lane.next(Duration::ZERO) else { panic!() };
        assert!(!lane.is_empty());
        lane.applied(batch, Ok(()), Duration::ZERO);
        assert!(lane.is_empty());
    };
    take(&mut lane, 90..100);
    assert_eq!(lane.watermark(), Some(100));
    lane.begin_anew();
    assert_eq!(lane.watermark(), None, "nothing is known of it yet");
    take(&mut lane, 0..4);
    assert_eq!(lane.watermark(), Some(4));
}

#[test]
fn a_failed_event_is_tried_four_times_and_the_next_one_once() {
    let records = [(1, 0, Kind::FailsAlways), (1, 0, Kind::FailsAlways), (1, 0, Kind::Good), (1, 0, Kind::FailsAlways)];
    let world = World::new(small(), &records, Vec::new()).run(&[1]);
    let letters: Vec<_> = world.letters.values().copied().collect();
    assert_eq!(letters, [(Reason::Failed, 4), (Reason::Failed, 1), (Reason::Failed, 4)]);
    assert_eq!(world.now, Duration::from_secs(28), "2 + 4 + 8, twice");
}

#[test]
fn a_held_flood_is_bounded() {
    let records: Vec<_> =
        std::iter::once((1, 0, Kind::FailsUntil(5))).chain((0..100).map(|_| (1, 0, Kind::Good))).collect();
    let mut world = World::new(Settings { held_bytes: usize::MAX / 2, ..small() }, &records, Vec::new());
    while world.now < Duration::from_secs(2) {
        world.arrive(100);
        world.step();
        assert!(world.lane.records + world.lane.held.records() <= 6 + 2 * 4);
    }
    assert!(!world.lane.has_room());
    assert_eq!(world.run(&[100]).applied.len(), 101);
}

#[test]
fn a_batch_is_bounded_in_records_and_bytes() {
    let settings = Settings { batch_records: 3, batch_bytes: 3_000, ..Settings::default() };
    let mut lane = Lane::new(settings, 0);
    let sizes = [1_000, 1_000, 5_000, 10, 10, 10, 10];
    for (offset, size) in (0..).zip(sizes) {
        lane.arrive(record(offset, 0, &vec![b' '; size]), Ok(decoded(offset, 0)));
    }
    let mut batches = Vec::new();
    while let Next::Apply(batch) = lane.next(Duration::ZERO) {
        batches.push(batch.len());
        lane.applied(batch, Ok(()), Duration::ZERO);
    }
    assert_eq!(batches, [1, 1, 1, 3, 1], "a record larger than a batch goes alone");
    assert_eq!(lane.watermark(), Some(7));
}

fn letters_until_pause(lane: &mut Lane, records: impl Iterator<Item = (i64, u8)>) -> (usize, bool) {
    let mut count = 0;
    for (offset, device) in records {
        lane.arrive(record(offset, device, b""), Err(no_event()));
        match lane.next(Duration::ZERO) {
            Next::DeadLetter(letters) => {
                count += letters.len();
                lane.dead_lettered(sent(letters, Ok(())), Duration::ZERO);
            }
            Next::Pause => return (count, true),
            other => panic!("{other:?}"),
        }
    }
    (count, false)
}

#[test]
fn dead_letters_are_rationed() {
    let mut lane = Lane::new(Settings::default(), 0);
    assert_eq!(letters_until_pause(&mut lane, (0..500).map(|n| (n, 0))), (500, false), "one device is no bad deploy");

    let mut lane = Lane::new(Settings::default(), 0);
    let many = |n: i64| (n, u8::try_from(n % 50).unwrap());
    assert_eq!(letters_until_pause(&mut lane, (0..500).map(many)), (100, true));
    assert!(lane.is_paused() && !lane.has_room());
    assert!(matches!(lane.next(Duration::ZERO), Next::Wait(None)));
    assert_eq!(lane.watermark(), Some(100), "the one that was not let through is not lost");
    lane.resume();
    assert!(matches!(lane.next(Duration::ZERO), Next::DeadLetter(letters) if letters.len() == 1));
}

#[test]
fn a_type_that_is_not_known_is_no_flood_and_no_mark_against_its_device() {
    let mut lane = Lane::new(Settings::default(), 0);
    for offset in 0..2_000 {
        let refusal = Refusal { reason: Reason::UnknownType, error: String::new() };
        lane.arrive(record(offset, u8::try_from(offset % 200).unwrap(), b""), Err(refusal));
        let Next::DeadLetter(letters) = lane.next(Duration::ZERO) else { panic!("{offset}") };
        lane.dead_lettered(sent(letters, Ok(())), Duration::ZERO);
    }
    // It neither takes room in the window nor makes any.
    let others = (2_000..2_500).map(|n| (n, u8::try_from(n % 50).unwrap()));
    assert_eq!(letters_until_pause(&mut lane, others), (100, true));
    // An event of one of those devices that fails has all its tries.
    let records = [(1, 0, Kind::UnknownType), (1, 0, Kind::FailsAlways)];
    let world = World::new(small(), &records, Vec::new()).run(&[1]);
    assert_eq!(world.letters[&102], (Reason::Failed, 4));
}

#[test]
fn what_panics_is_found_among_others_tried_four_times_and_a_dead_letter() {
    use Kind::{Good, Panics};
    let records = [(1, 0, Good), (1, 1, Good), (1, 2, Panics), (1, 3, Good), (1, 2, Good), (1, 1, Good)];
    let world = World::new(Settings::default(), &records, Vec::new()).run(&[6]);
    assert_eq!(world.letters, BTreeMap::from([(103, (Reason::Panicked, 4))]));
    assert_eq!((world.applied.len(), world.now), (5, Duration::from_secs(14)), "its device alone waited: 2 + 4 + 8");
}

#[test]
fn letters_that_are_refused_for_an_hour_are_no_flood() {
    let mut lane = Lane::new(Settings::default(), 0);
    for offset in 0..60 {
        lane.arrive(record(offset, u8::try_from(offset).unwrap(), b""), Err(no_event()));
    }
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(3_600) {
        match lane.next(now) {
            Next::DeadLetter(letters) => lane.dead_lettered(sent(letters, Err("away")), now),
            Next::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(lane.outage().unwrap().starts_with("dead letters are not taken: "));
    let Next::DeadLetter(letters) = lane.next(now) else { panic!() };
    assert_eq!(letters.len(), 60);
    lane.dead_lettered(sent(letters, Ok(())), now);
    assert_eq!((lane.watermark(), lane.outage()), (Some(60), None));
}

#[test]
fn of_letters_only_those_refused_are_sent_again() {
    let mut lane = Lane::new(Settings::default(), 0);
    for offset in 0..6 {
        lane.arrive(record(offset, 0, b""), Err(no_event()));
    }
    let Next::DeadLetter(letters) = lane.next(Duration::ZERO) else { panic!() };
    let refused = [1, 4];
    let result = |offset| if refused.contains(&offset) { Err("too large".to_owned()) } else { Ok(()) };
    let went: Vec<_> = letters.into_iter().map(|letter| (result(letter.record.offset), letter)).collect();
    lane.dead_lettered(went.into_iter().map(|(result, letter)| (letter, result)).collect(), Duration::ZERO);
    assert_eq!((lane.watermark(), lane.records), (Some(1), 2));
    assert_eq!(lane.outage(), Some("dead letters are not taken: too large"));
    let Next::Wait(Some(until)) = lane.next(Duration::ZERO) else { panic!() };
    // What comes meanwhile goes behind them, and is rationed as itself.
    lane.arrive(record(6, 0, b""), Err(no_event()));
    let Next::DeadLetter(letters) = lane.next(until) else { panic!() };
    assert_eq!(letters.iter().map(|letter| letter.record.offset).collect::<Vec<_>>(), [1, 4, 6]);
    lane.dead_lettered(sent(letters, Ok(())), until);
    assert_eq!((lane.watermark(), lane.outage(), lane.records, lane.bytes), (Some(7), None, 0, 0));
}
