use super::*;
use crate::consumer::health::Unreadable;
use crate::observe::partition_lag::Unstable;
use crate::scheduler::HeldFull;

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05 UTC);

fn past() -> Past {
    Past::new(Duration::from_secs(180))
}

fn ends(first: i64, stable: i64) -> Ends {
    Ends { first, stable, log: Some(stable) }
}

fn partition(watermark: Option<i64>, begun_at: Option<i64>) -> PartitionState {
    PartitionState { watermark, begun_at, ..PartitionState::default() }
}

#[test]
fn what_is_behind_the_watermark_has_its_effect() {
    let since = Some(NOW - time::Duration::seconds(7));
    let ours = BTreeMap::from([
        (0, PartitionState { waiting_since: since, ..partition(Some(10), Some(2)) }),
        (1, partition(None, Some(2))),
        (2, partition(None, None)),
        (3, partition(Some(4), None)),
        (4, partition(Some(20), None)),
    ]);
    // The broker has deleted the first three records of partitions 1 and 2; it returns nothing for 3.
    let ends = BTreeMap::from([(0, ends(0, 15)), (1, ends(3, 15)), (2, ends(3, 15)), (4, ends(0, 20))]);
    let (found, anew) = measure(&ours, &BTreeMap::new(), &ends, NOW, &mut past());
    assert!(anew.is_empty());
    let lags: Vec<_> = found.values().map(|found| found.lag).collect();
    assert_eq!(lags, [Some(5), Some(12), Some(12), None, Some(0)]);
    assert_eq!(found[&0].watermark_age, 7.0);
    assert_eq!(found[&4].watermark_age, 0.0);
}

#[test]
fn what_lies_behind_the_last_stable_offset_is_told_apart() {
    let ours =
        BTreeMap::from([(0, partition(Some(10), None)), (1, partition(Some(10), None)), (2, partition(Some(8), None))]);
    let end = |stable, log| Ends { first: 0, stable, log };
    let ends = BTreeMap::from([(0, end(10, Some(17))), (1, end(10, None)), (2, end(10, Some(11)))]);
    let (found, _) = measure(&ours, &BTreeMap::new(), &ends, NOW, &mut past());
    let told: Vec<_> = found.values().map(|found| (found.lag, found.unstable)).collect();
    let unstable = |records| Some(Unstable { records, offset: 10, age: Duration::ZERO });
    let without_age: Vec<_> = told
        .into_iter()
        .map(|(lag, found)| (lag, found.map(|found| Unstable { age: Duration::ZERO, ..found })))
        .collect();
    assert_eq!(without_age, [(Some(0), unstable(7)), (Some(0), None), (Some(2), unstable(1))]);
    assert!(found.values().take(2).all(|found| found.watermark_age == 0.0), "these are not behind");
}

fn full() -> HeldFull {
    HeldFull { records: 3, bytes: 9, key: "d1".into(), key_records: 2, key_bytes: 8 }
}

#[test]
fn what_waits_for_something_known_does_not_stand_still_for_no_reason() {
    let stands = || partition(Some(4), None);
    let soon = Some(Instant::now() + Duration::from_secs(8));
    let late = soon.and_then(|soon| soon.checked_sub(Duration::from_secs(60)));
    let ours = BTreeMap::from([
        (0, stands()),
        (1, PartitionState { outage: Some("SQLSTATE 57P01".into()), ..stands() }),
        (2, PartitionState { held: 1, held_until: soon, read_to: Some(15), ..stands() }),
        (3, PartitionState { paused: true, ..stands() }),
        (4, PartitionState { watermark: Some(15), ..stands() }),
        (5, partition(None, None)),
        // With a held device: records come in; none do although there is room; there is no room; the retry is late.
        (6, PartitionState { held: 1, held_until: soon, read_to: Some(9), ..stands() }),
        (7, PartitionState { held: 1, held_until: soon, read_to: Some(9), held_full: Some(full()), ..stands() }),
        (8, PartitionState { held: 1, held_until: late, read_to: Some(15), ..stands() }),
        (9, PartitionState { held: 1, read_to: Some(15), ..stands() }),
        (10, PartitionState { unreadable: Some(Unreadable::new(Some(4), "bad".into(), Instant::now())), ..stands() }),
    ]);
    let ends: BTreeMap<_, _> = ours.keys().map(|partition| (*partition, ends(0, 15))).collect();
    let mut past = Past::new(Duration::from_secs(10));
    assert_eq!(measure(&ours, &BTreeMap::new(), &ends, NOW, &mut past).1, [0; 0], "they stand there since just now");
    past.measured -= Duration::from_secs(11);
    let (found, anew) = measure(&ours, &BTreeMap::new(), &ends, NOW, &mut past);
    assert_eq!(anew, [0, 5, 6, 8, 9]);
    let stalled: Vec<_> = found.values().map(|found| found.stalled.is_some()).collect();
    assert_eq!(stalled, [true, false, false, false, false, true, true, false, true, true, false]);
    let unreadable: Vec<_> =
        found.iter().filter(|(_, found)| found.unreadable).map(|(partition, _)| *partition).collect();
    assert_eq!(unreadable, [10]);
}

#[test]
fn a_partition_that_does_not_get_on_ages_without_having_seen_its_records() {
    let mut past = past();
    let minute = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    past.partitions.entry(0).or_default().waiting.waiting(minute, None, Some(15));
    let mut age = |state| {
        measure(&BTreeMap::from([(0, state)]), &BTreeMap::new(), &BTreeMap::new(), NOW, &mut past).0[&0].watermark_age
    };
    assert!((60.0..70.0).contains(&age(partition(None, Some(2)))), "whoever has told its time");
    assert!((60.0..70.0).contains(&age(partition(Some(14), Some(2)))), "it is behind all the same");
    assert!(age(partition(Some(15), Some(2))) < 1.0, "it has not been told yet where it ends");
}

#[test]
fn what_came_in_ages_also_where_the_log_has_dropped_it() {
    let in_hand = PartitionState { in_hand: true, ..partition(Some(14), Some(2)) };
    for (state, is_old) in [(in_hand, true), (partition(Some(14), Some(2)), false)] {
        let mut past = past();
        let minute = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        past.partitions.entry(0).or_default().waiting.waiting(minute, Some(14), Some(15));
        let ours = BTreeMap::from([(0, state)]);
        let found =
            measure(&ours, &BTreeMap::new(), &BTreeMap::from([(0, ends(15, 15))]), NOW, &mut past).0[&0].clone();
        assert_eq!((found.lag, found.watermark_age >= 60.0), (Some(0), is_old));
    }
}

/// Moves the last measurement into the past.
fn later(past: &mut Past, seconds: u64) {
    let seconds = Duration::from_secs(seconds);
    past.measured -= seconds;
    for (_, at) in past.partitions.values_mut().filter_map(|known| known.last.as_mut()) {
        *at -= seconds;
    }
}

#[test]
fn what_kafka_does_not_tell_is_not_0_and_grows_older() {
    let mut past = past();
    let since = Some(NOW - time::Duration::seconds(7));
    // One is behind, the other is not; for the third, Kafka never returns anything.
    let ours = BTreeMap::from([
        (0, PartitionState { waiting_since: since, in_hand: true, ..partition(Some(10), None) }),
        (1, partition(Some(15), None)),
        (2, partition(None, None)),
    ]);
    let (told, none) = (BTreeMap::from([(0, ends(0, 15)), (1, ends(0, 15))]), BTreeMap::new());
    let (nothing, nobody) = (BTreeMap::new(), BTreeMap::new());
    let of = |found: &BTreeMap<i32, PartitionLag>, partition: i32| {
        let PartitionLag { lag, is_unknown, is_lost, waits, watermark_age, .. } = found[&partition].clone();
        (lag, is_unknown, is_lost, waits, watermark_age.round())
    };
    let (found, _) = measure(&ours, &nothing, &told, NOW, &mut past);
    assert_eq!(of(&found, 0), (Some(5), false, false, false, 7.0));
    assert_eq!(of(&found, 1), (Some(0), false, false, false, 0.0));
    assert_eq!(of(&found, 2), (None, true, false, false, 0.0));
    // Kafka does not answer; then it has given the partitions to other workers, or they have no owner.
    later(&mut past, 20);
    let (found, _) = measure(&ours, &nothing, &none, NOW + Duration::from_secs(20), &mut past);
    assert_eq!(of(&found, 0), (Some(5), true, false, false, 27.0));
    assert_eq!(of(&found, 1), (Some(0), true, false, false, 20.0), "it may have more since");
    assert_eq!(of(&found, 2), (None, true, false, false, 20.0));
    later(&mut past, 20);
    let (found, anew) = measure(&nobody, &ours, &none, NOW + Duration::from_secs(40), &mut past);
    assert_eq!(of(&found, 0), (Some(5), true, true, true, 47.0));
    assert_eq!(of(&found, 1), (Some(0), true, true, true, 40.0));
    assert!(anew.is_empty());
    // One comes back, and the other belongs to another worker.
    later(&mut past, 20);
    let ours = BTreeMap::from([(1, partition(Some(15), None))]);
    let (found, _) = measure(&ours, &nothing, &told, NOW + Duration::from_secs(60), &mut past);
    assert_eq!((of(&found, 1), found.len()), ((Some(0), false, false, false, 0.0), 1));
    assert_eq!(past.partitions.len(), 1);
}

#[test]
fn a_partition_that_went_and_came_back_begins_with_a_new_time() {
    let mut past = Past::new(Duration::from_secs(10));
    let ends = BTreeMap::from([(0, Ends { first: 0, stable: 10, log: Some(17) })]);
    let (ours, none) = (BTreeMap::from([(0, partition(Some(4), None))]), BTreeMap::new());
    let mut look = |ours: &BTreeMap<i32, PartitionState>, lost: &BTreeMap<i32, PartitionState>| {
        past.measured -= Duration::from_secs(20);
        let found = measure(ours, lost, &ends, OffsetDateTime::UNIX_EPOCH, &mut past).0.remove(&0)?;
        Some((found.stalled.is_some(), found.unstable.map(|open| open.age.as_secs())))
    };
    for lost in [&none, &ours] {
        assert_eq!(look(&ours, &none), Some((false, Some(0))));
        assert_eq!(look(&ours, &none), Some((true, Some(20))));
        look(&none, lost);
    }
    assert_eq!(look(&ours, &none), Some((false, Some(0))));
}
