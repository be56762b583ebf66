//! Tests the scheduler against a model: a world that applies batches, fails as the test says, and checks the
//! scheduler's invariants at every step.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shared::kafka::Reason;

use self::records::*;
use self::world::*;
use super::*;

type Scheduler = super::Scheduler<()>;
type Task = super::Task<()>;

mod dead_letters;
mod failing;
mod flapping;
mod floods;
mod held_alone;
mod held_full;
mod load;
mod outages;
mod records;
mod slow;
mod world;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_record_has_exactly_one_effect_in_the_order_of_its_key(
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
                // Four, unless too much waited: the world checks each of them.
                (Kind::FailsAlways | Kind::FailsUntil(_), Some((Reason::Failed, attempts)))
                | (Kind::Panics, Some((Reason::Panicked, attempts))) => {
                    prop_assert!((1..=4).contains(attempts));
                }
                other => prop_assert!(false, "{offset}: {other:?}"),
            }
        }
        prop_assert_eq!((world.scheduler.records, world.scheduler.bytes, world.scheduler.held.records(), world.scheduler.held.bytes()), (0, 0, 0, 0));
        prop_assert!(world.scheduler.is_empty());
    }

    #[test]
    fn a_scheduler_lost_at_any_step_loses_nothing_and_keeps_the_order(
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
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    let take = |scheduler: &mut Scheduler, offsets: std::ops::Range<i64>| {
        for offset in offsets {
            scheduler.arrive(record(offset, 0, b"{}"), Ok(decoded(offset, 0)));
        }
        let Action::Apply(batch) = scheduler.next(Duration::ZERO) else { panic!() };
        assert!(!scheduler.is_empty());
        scheduler.applied(batch, Ok(()), Duration::ZERO);
        assert!(scheduler.is_empty());
    };
    take(&mut scheduler, 90..100);
    assert_eq!(scheduler.watermark(), Some(100));
    scheduler.restart();
    assert_eq!(scheduler.watermark(), None, "nothing is known of it yet");
    take(&mut scheduler, 0..4);
    assert_eq!(scheduler.watermark(), Some(4));
}

#[test]
fn a_held_flood_is_bounded() {
    let records: Vec<_> =
        std::iter::once((1, 0, Kind::FailsUntil(5))).chain((0..100).map(|_| (1, 0, Kind::Good))).collect();
    let mut world = World::new(Settings { held_bytes: usize::MAX / 2, ..small() }, &records, Vec::new());
    while world.now < Duration::from_secs(2) {
        world.arrive(100);
        world.step();
        assert!(world.scheduler.records + world.scheduler.held.records() <= 6 + 2 * 4);
    }
    assert!(!world.scheduler.has_room());
    let world = world.run(&[100]);
    assert_eq!(world.applied.len(), 100);
    assert_eq!(world.letters, BTreeMap::from([(101, (Reason::Failed, 2))]), "too much waits behind it");
}

#[test]
fn a_batch_is_bounded_in_records_and_bytes() {
    let settings = Settings { batch_records: 3, batch_bytes: 3_000, ..Settings::default() };
    let mut scheduler = Scheduler::new(settings, 0);
    let sizes = [1_000, 1_000, 5_000, 10, 10, 10, 10];
    for (offset, size) in (0..).zip(sizes) {
        scheduler.arrive(record(offset, 0, &vec![b' '; size]), Ok(decoded(offset, 0)));
    }
    let mut batches = Vec::new();
    while let Action::Apply(batch) = scheduler.next(Duration::ZERO) {
        batches.push(batch.len());
        scheduler.applied(batch, Ok(()), Duration::ZERO);
    }
    assert_eq!(batches, [1, 1, 1, 3, 1], "a record larger than a batch goes alone");
    assert_eq!(scheduler.watermark(), Some(7));
}

#[test]
fn what_panics_is_found_among_others_tried_four_times_and_a_dead_letter() {
    use Kind::{Good, Panics};
    let records = [(1, 0, Good), (1, 1, Good), (1, 2, Panics), (1, 3, Good), (1, 2, Good), (1, 1, Good)];
    let world = World::new(Settings::default(), &records, Vec::new()).run(&[6]);
    assert_eq!(world.letters, BTreeMap::from([(103, (Reason::Panicked, 4))]));
    assert_eq!((world.applied.len(), world.now), (5, Duration::from_secs(14)), "its key alone waited: 2 + 4 + 8");
}
