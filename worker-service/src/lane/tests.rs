//! The lane against a model: a world that applies batches, fails as it is told to, and checks at
//! every step what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use shared::event::{Event, EventType, Payload};
use shared::position::Position;
use time::OffsetDateTime;

use super::*;

fn error(class: Class) -> StoreError {
    StoreError { class, message: format!("{class:?}") }
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
        position: Position { topic: "t".into(), partition: 0, offset, appended_at: at, redriven: false },
    }
}

fn small() -> Settings {
    Settings { batch_records: 4, held_records: 6, ..Settings::default() }
}

/// What is the matter with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Undecodable,
    Rejected,
    /// Fails until that many seconds have gone by.
    FailsUntil(u64),
    FailsAlways,
}

/// What happens to one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Fine,
    Outage,
    Conflict,
}

struct World {
    lane: Lane,
    now: Duration,
    records: BTreeMap<i64, (u8, Kind)>,
    arrived: BTreeSet<i64>,
    /// Offsets that have had their effect.
    applied: BTreeSet<i64>,
    letters: BTreeMap<i64, (Reason, u32)>,
    luck: Vec<Luck>,
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
            lane: Lane::new(settings, 1),
            now: Duration::ZERO,
            records,
            arrived: BTreeSet::new(),
            applied: BTreeSet::new(),
            letters: BTreeMap::new(),
            luck,
        }
    }

    fn arrive(&mut self, at_most: usize) {
        let new: Vec<_> =
            self.records.iter().filter(|(offset, _)| !self.arrived.contains(offset)).take(at_most).collect();
        for (&offset, &(device, kind)) in new {
            if !self.lane.has_room() {
                break;
            }
            let decoded =
                if kind == Kind::Undecodable { Err(Poison("no event".into())) } else { Ok(decoded(offset, device)) };
            self.lane.arrive(record(offset, device, b"{}"), decoded);
            self.arrived.insert(offset);
        }
    }

    fn has_effect(&self, offset: i64) -> bool {
        self.applied.contains(&offset) || self.letters.contains_key(&offset)
    }

    fn fails(&self, offset: i64) -> Option<Class> {
        match self.records[&offset].1 {
            Kind::Rejected => Some(Class::Poison),
            Kind::FailsAlways => Some(Class::Failed),
            Kind::FailsUntil(until) if self.now < Duration::from_secs(until) => Some(Class::Failed),
            _ => None,
        }
    }

    /// One transaction, and whether it may be tried at all.
    fn apply(&mut self, batch: &[Task]) -> Result<(), StoreError> {
        assert!(!batch.is_empty());
        let mut before = BTreeSet::new();
        for task in batch {
            let offset = task.record.offset;
            assert!(!self.has_effect(offset), "{offset} is applied twice");
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
        match batch.iter().find_map(|task| self.fails(task.record.offset)) {
            Some(class) => Err(error(class)),
            None => {
                self.applied.extend(before);
                Ok(())
            }
        }
    }

    /// One step; false when there is nothing left to do.
    fn step(&mut self) -> bool {
        match self.lane.next(self.now) {
            Next::Apply(batch) => {
                let result = self.apply(&batch);
                self.lane.applied(batch, result, self.now);
            }
            Next::DeadLetter(letters) => {
                if self.luck.pop() == Some(Luck::Outage) {
                    self.lane.dead_lettered(letters, Err("refused".into()), self.now);
                } else {
                    for letter in &letters {
                        let twice = self.letters.insert(letter.record.offset, (letter.reason, letter.attempts));
                        assert!(twice.is_none() && !self.applied.contains(&letter.record.offset));
                    }
                    self.lane.dead_lettered(letters, Ok(()), self.now);
                }
            }
            Next::Pause => self.lane.resume(),
            Next::Wait(until) => {
                if self.lane.outage().is_none() {
                    self.only_held_devices_wait();
                }
                match until {
                    Some(until) => {
                        assert!(until > self.now);
                        self.now = until;
                    }
                    None => return false,
                }
            }
        }
        let first_without = self.arrived.iter().find(|offset| !self.has_effect(**offset)).copied();
        let end = self.arrived.last().map(|last| last + 1);
        assert_eq!(self.lane.watermark(), first_without.or(end), "the watermark");
        true
    }

    /// A failing event holds up its own device, never its partition.
    fn only_held_devices_wait(&self) {
        for (offset, (device, _)) in self.records.iter().filter(|(offset, _)| self.arrived.contains(offset)) {
            assert!(
                self.has_effect(*offset) || self.lane.held.has(&format!("d{device}").parse().unwrap()),
                "{offset} waits, and its device is not held"
            );
        }
    }

    fn run(mut self, chunks: &[usize]) -> Self {
        let mut chunks = chunks.iter().copied().chain(std::iter::repeat(3));
        for _ in 0..100_000 {
            self.arrive(chunks.next().unwrap_or(1));
            if !self.step() && self.arrived.len() == self.records.len() {
                return self;
            }
        }
        panic!("it does not end");
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => Just(Kind::Good),
        1 => Just(Kind::Undecodable),
        1 => Just(Kind::Rejected),
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
                (Kind::Rejected, Some((Reason::Rejected, _))) => {}
                // One try where the device had failed before, else four.
                (Kind::FailsAlways | Kind::FailsUntil(_), Some((Reason::Failed, attempts))) => {
                    prop_assert!((1..=4).contains(attempts));
                }
                other => prop_assert!(false, "{offset}: {other:?}"),
            }
        }
        prop_assert_eq!((world.lane.records, world.lane.bytes, world.lane.held.records(), world.lane.held.bytes()), (0, 0, 0, 0));
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
    let mut world = World::new(small(), &[(1, 0, Kind::Good), (1, 1, Kind::Good)], Vec::new());
    world.arrive(2);
    while world.now < Duration::from_secs(3600) {
        world.luck = vec![Luck::Outage];
        world.step();
    }
    world.luck.clear();
    let world = world.run(&[]);
    assert_eq!((world.applied.len(), world.letters.len()), (2, 0));
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
    let mut world = World::new(small(), &records, Vec::new());
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
    let mut sent = 0;
    for (offset, device) in records {
        lane.arrive(record(offset, device, b""), Err(Poison("no event".into())));
        match lane.next(Duration::ZERO) {
            Next::DeadLetter(letters) => {
                sent += letters.len();
                lane.dead_lettered(letters, Ok(()), Duration::ZERO);
            }
            Next::Pause => return (sent, true),
            other => panic!("{other:?}"),
        }
    }
    (sent, false)
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
