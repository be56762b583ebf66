//! Outage errors that one record alone meets, and general outages.

use bytes::Bytes;

use super::*;
use crate::scheduler::held_alone::{CONTROLS, FEW_CONTROLS, HELD_ALONE, MANY_DEAD_LETTERS};
use crate::scheduler::suspects::MAX_SET_ASIDE;

/// Settings with so much room for held events that others always come in.
fn roomy() -> Settings {
    Settings { held_records: 10_000, held_bytes: usize::MAX / 2, ..small() }
}

impl World {
    /// While an event meets an outage, another key continues to send events; returns whether it did.
    pub(super) fn others_report(&mut self) -> bool {
        let is_alone = |kind: &Kind| matches!(kind, Kind::Alone | Kind::AloneUntil(_));
        let waits = |(offset, (_, kind)): (&i64, &(u8, Kind))| is_alone(kind) && !self.done.contains(offset);
        let report = self.scheduler.has_room() && self.records.iter().any(waits);
        if report {
            let last = self.records.last_key_value().map_or(0, |(offset, _)| *offset);
            self.records.insert(last + 1, (9, Kind::Good));
        }
        report
    }

    pub(super) fn note_outage(&mut self, batch: &[Task], class: Class) {
        if let (Class::OutageMet | Class::Again, [task]) = (class, batch) {
            self.met_at.entry(task.record.offset).or_insert((self.now, self.transactions));
        }
    }

    /// One step without new events.
    fn quietly(&mut self) {
        match self.scheduler.next(self.now) {
            Action::Apply(batch) => {
                let result = self.apply(&batch);
                self.scheduler.applied(batch, result, self.now);
            }
            Action::Probe(_) => {
                let fails = self.now < self.outage_until;
                let result = if fails { Err(error(Class::OutageMet)) } else { Ok(()) };
                self.scheduler.probed(result, self.now);
            }
            Action::Wait(Some(until)) => self.now = until,
            other => panic!("{other:?}"),
        }
    }

    /// Checks dead letters for an unknown error: since the first failure enough others were applied, and the event was
    /// tried for long enough or too much waits behind it.
    pub(super) fn check_outages(&self, letters: &[DeadLetter]) {
        for letter in letters.iter().filter(|letter| letter.reason == Reason::UnknownError) {
            let offset = letter.record.offset;
            let (key, kind) = self.records[&offset];
            assert!(matches!(kind, Kind::Alone | Kind::AloneUntil(_)), "{offset} is {kind:?}");
            let (since, transactions) = self.met_at[&offset];
            let of_device = |at: &&i64| self.records[at].0 == key;
            let waiting = self.arrived.iter().filter(of_device).filter(|at| !self.done.contains(at)).count();
            let is_late = self.now - since >= HELD_ALONE;
            let is_full = self.half_full || waiting >= self.settings.key_records;
            assert!(is_late || is_full, "{offset}: {waiting} wait");
            let known = self.letters.iter().filter(|(_, (reason, _))| *reason == Reason::UnknownError);
            let mut known = known.filter(|(at, _)| self.records[*at].0 == key);
            if letter.attempts == 0 {
                let before = known.filter(|(at, _)| **at < offset).count();
                assert!(before >= MANY_DEAD_LETTERS && self.half_full);
                continue;
            }
            // After a dead letter of the key, the next ones need only three controls each while much waits.
            let controls = if known.next().is_some() && is_full { FEW_CONTROLS } else { CONTROLS };
            let succeeded = self.transactions - transactions;
            assert!(succeeded >= 2 * controls as usize, "{offset}: others were applied {succeeded} times");
            assert!(letter.attempts > controls);
        }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        10 => Just(Kind::Good),
        1 => Just(Kind::Undecodable),
        1 => Just(Kind::Rejected),
        1 => (1..20u64).prop_map(Kind::FailsUntil),
        2 => Just(Kind::Alone),
        1 => (1..400u64).prop_map(Kind::AloneUntil),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn one_record_s_own_error_is_found_and_nothing_else_is(
        records in history(kind()),
        chunks in prop::collection::vec(0..7usize, 0..20),
        luck in prop::collection::vec(luck(), 0..30),
    ) {
        let world = World::new(roomy(), &records, luck).run(&chunks);
        for (&offset, &(_, kind)) in &world.records {
            let letter = world.letters.get(&offset);
            prop_assert!(world.applied.contains(&offset) != letter.is_some());
            match (kind, letter) {
                (Kind::Alone, Some((Reason::UnknownError, attempts))) => prop_assert!(*attempts >= 1),
                (Kind::AloneUntil(_), None | Some((Reason::UnknownError, _))) => {}
                (Kind::Alone | Kind::AloneUntil(_), _) => prop_assert!(false, "{offset}: {kind:?} {letter:?}"),
                (_, letter) => prop_assert!(letter.is_none_or(|(reason, _)| *reason != Reason::UnknownError)),
            }
        }
        prop_assert!(world.scheduler.is_empty() && world.scheduler.held_alone() == 0);
    }

    #[test]
    fn a_scheduler_lost_meanwhile_loses_nothing(
        records in history(kind()), crashes in prop::collection::vec((0..25usize, 0..4usize), 1..4)
    ) {
        let world = World::new(roomy(), &records, Vec::new()).run_with_crashes(&[], &crashes);
        for (&offset, &(_, kind)) in &world.records {
            prop_assert!(world.has_effect(offset), "{} is lost", offset);
            prop_assert!(kind != Kind::Good || !world.letters.contains_key(&offset));
        }
    }

    #[test]
    fn an_outage_in_the_middle_of_transactions_is_no_dead_letter(
        records in history(Just(Kind::Good)), lasts in 0..3_600u64, chunks in prop::collection::vec(0..7usize, 0..20)
    ) {
        let mut world = World::new(small(), &records, Vec::new());
        world.outage_until = Duration::from_secs(lasts);
        let world = world.run(&chunks);
        prop_assert_eq!((world.letters.len(), world.applied.len()), (0, world.records.len()));
    }
}

#[test]
fn its_device_is_held_alone_and_after_five_minutes_it_is_a_dead_letter() {
    use Kind::{Alone, Good};
    let records = [(1, 0, Good), (1, 1, Alone), (1, 2, Good), (1, 1, Good), (1, 0, Good), (1, 3, Good)];
    let mut world = World::new(roomy(), &records, Vec::new());
    while ![101, 103, 105, 106].iter().all(|offset| world.applied.contains(offset)) {
        world.arrive(6);
        assert!(world.step());
        assert!(world.now < Duration::from_secs(10), "the others do not wait for it");
    }
    let world = world.run(&[3]);
    assert!((300..350).contains(&world.now.as_secs()), "{:?}", world.now);
    let (reason, attempts) = world.letters[&102];
    assert!(reason == Reason::UnknownError && attempts > 10, "{attempts}");
    assert_eq!(world.letters.len(), 1);
    assert!(world.applied.contains(&104), "the next one of its key, behind it");
}

#[test]
fn while_it_is_held_alone_the_scheduler_says_so_and_is_in_no_outage() {
    let records = [(1, 1, Kind::Alone), (1, 0, Kind::Good)];
    let mut world = World::new(roomy(), &records, Vec::new());
    world.arrive(2);
    while world.scheduler.held_alone() == 0 {
        assert!(world.step() && world.now < Duration::from_secs(30));
        world.arrive(1);
    }
    assert_eq!((world.scheduler.outage(), world.scheduler.held_keys()), (None, 1));
}

#[test]
fn when_much_waits_behind_it_it_does_not_wait_so_long() {
    let behind = (0..3).map(|_| (1, 1, Kind::Good));
    let records: Vec<_> = std::iter::once((1, 1, Kind::Alone)).chain(behind).chain([(1, 0, Kind::Good)]).collect();
    let world = World::new(roomy(), &records, Vec::new()).run(&[9]);
    assert_eq!(world.letters[&101].0, Reason::UnknownError);
    assert!(world.now < Duration::from_secs(120), "{:?}", world.now);
}

#[test]
fn a_flood_of_them_from_one_device_gets_a_few_tries_each_while_much_waits() {
    let events = |n| if n % 10 == 0 { (1, 0, Kind::Good) } else { (1, 1, Kind::Alone) };
    let records: Vec<_> = (0..200).map(events).collect();
    let mut world = World::new(roomy(), &records, Vec::new());
    while world.letters.len() < 178 {
        world.arrive(10);
        assert!(world.step() && world.now < HELD_ALONE, "{:?}", world.now);
    }
    // The few that are left are tried for the full time.
    assert!(world.run(&[3]).now > HELD_ALONE);
}

#[test]
fn in_an_outage_of_all_a_few_devices_are_set_aside_and_the_partition_waits() {
    let records: Vec<_> = (0..40).map(|n| (1, n % 20, Kind::Good)).collect();
    let mut world = World::new(roomy(), &records, Vec::new());
    world.outage_until = Duration::from_secs(3_600);
    world.arrive(40);
    // A dead letter that Kafka accepts meanwhile is no evidence that the store answers.
    world.records.insert(150, (3, Kind::Undecodable));
    let mut most = 0;
    while world.now < Duration::from_secs(3_600) {
        world.step();
        world.arrive(40);
        most = world.scheduler.held_keys().max(most);
        let waits = world.scheduler.outage().is_some();
        assert!(waits || world.now < Duration::from_secs(30), "it says so all the while");
    }
    assert_eq!(most, MAX_SET_ASIDE);
    let world = world.run(&[40]);
    assert_eq!((world.applied.len(), world.letters.len()), (40, 1));
}

#[test]
fn several_devices_may_meet_it_at_once() {
    let bad = (0..5).map(|key| (1, key, Kind::Alone));
    let records: Vec<_> = bad.chain((0..5).map(|key| (1, key, Kind::Good))).collect();
    let world = World::new(roomy(), &records, Vec::new()).run(&[10]);
    assert_eq!((world.letters.len(), world.letters.values().all(|letter| letter.0 == Reason::UnknownError)), (5, true));
}

#[test]
fn where_nobody_else_reports_a_probe_tells_that_it_is_no_outage_and_nothing_is_a_letter() {
    let records = [(1, 0, Kind::AloneUntil(3_600)), (1, 0, Kind::Good)];
    let mut world = World::new(roomy(), &records, Vec::new());
    world.arrive(2);
    let mut alone = 0;
    while world.now < Duration::from_secs(3_500) {
        world.quietly();
        assert!(world.letters.is_empty());
        alone += usize::from(world.scheduler.held_alone() == 1 && world.scheduler.outage().is_none());
    }
    assert!(alone > 100, "{alone}");
    while world.applied.len() < 2 {
        world.quietly();
        assert!(world.now < Duration::from_secs(3_650), "it goes on by itself");
    }
}

#[test]
fn a_probe_that_fails_is_an_outage_for_as_long_as_it_does() {
    let mut world = World::new(roomy(), &[(1, 0, Kind::Alone)], Vec::new());
    world.arrive(1);
    world.outage_until = Duration::from_secs(3_600);
    while world.now < world.outage_until {
        world.quietly();
        assert!(world.scheduler.outage().is_some() && world.scheduler.held_alone() == 0);
    }
    while world.scheduler.held_alone() == 0 {
        world.quietly();
        assert!(world.now < Duration::from_secs(3_700));
    }
    assert_eq!((world.scheduler.outage(), world.letters.len()), (None, 0));
}

/// For example a constraint on keys: it is no outage, and no evidence about other events.
#[test]
fn a_probe_that_is_refused_for_what_it_is_tells_nothing() {
    let mut scheduler = Scheduler::new(roomy(), 1);
    scheduler.arrive(record(1, 0, b"{}"), Ok(decoded(1, 0)));
    let (mut now, mut probes) = (Duration::ZERO, 0);
    while now < Duration::from_secs(3_600) {
        match scheduler.next(now) {
            Action::Apply(batch) => {
                scheduler.applied(batch, Err(error(Class::OutageMet)), now);
            }
            Action::Probe(_) => {
                scheduler.probed(Err(error(if probes % 2 == 0 { Class::Failed } else { Class::Poison })), now);
                probes += 1;
            }
            Action::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
        assert_eq!(scheduler.held_alone(), 0);
    }
    assert!(scheduler.outage().is_some() && (450..750).contains(&probes), "{probes}: every 5 s or so");
}

#[test]
fn a_probe_is_as_large_as_the_event_and_of_many_only_some_are() {
    let mut scheduler = Scheduler::new(roomy(), 1);
    let mut large = decoded(1, 0);
    let json = format!(r#"{{"x":"{}"}}"#, "x".repeat(200_000));
    let size = json.len();
    large.envelope.data = Bytes::from(json);
    scheduler.arrive(record(1, 0, b"{}"), Ok(large));
    let (mut now, mut probes) = (Duration::ZERO, Vec::new());
    while now < Duration::from_secs(600) {
        match scheduler.next(now) {
            Action::Apply(batch) => {
                scheduler.applied(batch, Err(error(Class::OutageMet)), now);
            }
            Action::Probe(bytes) => {
                probes.push((now, bytes));
                // Large probes fail for a while.
                let fails = bytes > 2_000 && (200..300).contains(&now.as_secs());
                scheduler.probed(if fails { Err(error(Class::OutageMet)) } else { Ok(()) }, now);
            }
            Action::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    let is_large = |bytes: usize| bytes == size;
    assert!(probes.iter().all(|(_, bytes)| is_large(*bytes) || *bytes <= 1_024));
    let within = |from, to| probes.iter().filter(move |(at, _)| (from..to).contains(&at.as_secs()));
    let larges = |from, to| within(from, to).filter(|(_, bytes)| is_large(*bytes)).count();
    assert!(is_large(probes[0].1) && larges(0, 200) < within(0, 200).count() / 2, "{probes:?}");
    assert_eq!(larges(250, 300), within(250, 300).count(), "until one succeeds, it is not known of large ones");
    assert!(larges(250, 300) > 0);
}
