//! The lane against a model: a world that applies batches, fails as it is told to, and checks at
//! every step what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shared::kafka::Reason;

use self::records::*;
use self::world::*;
use super::*;

type Lane = super::Lane<()>;
type Task = super::Task<()>;

mod alone;
mod failing;
mod flapping;
mod floods;
mod held_full;
mod letters;
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
                // Four, unless too much waited: the world looks at each of them.
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
    let world = world.run(&[100]);
    assert_eq!(world.applied.len(), 100);
    assert_eq!(world.letters, BTreeMap::from([(101, (Reason::Failed, 2))]), "too much waits behind it");
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

#[test]
fn what_panics_is_found_among_others_tried_four_times_and_a_dead_letter() {
    use Kind::{Good, Panics};
    let records = [(1, 0, Good), (1, 1, Good), (1, 2, Panics), (1, 3, Good), (1, 2, Good), (1, 1, Good)];
    let world = World::new(Settings::default(), &records, Vec::new()).run(&[6]);
    assert_eq!(world.letters, BTreeMap::from([(103, (Reason::Panicked, 4))]));
    assert_eq!((world.applied.len(), world.now), (5, Duration::from_secs(14)), "its key alone waited: 2 + 4 + 8");
}
