//! General outages: nothing is lost, and few small batches are left behind.

use super::*;

#[test]
fn an_hour_without_the_store_leaves_no_dead_letter() {
    // One event failed just before and is held.
    let records = [(1, 2, Kind::FailsUntil(1)), (1, 0, Kind::Good), (1, 1, Kind::Good), (1, 2, Kind::Good)];
    let mut world = World::new(small(), &records, Vec::new());
    world.arrive(1);
    assert!(world.step() && world.scheduler.held_keys() == 1);
    world.arrive(3);
    while world.now < Duration::from_secs(3600) {
        world.luck = vec![Luck::Outage];
        world.step();
        assert!(world.scheduler.outage().is_some());
    }
    world.luck.clear();
    let world = world.run(&[]);
    assert_eq!((world.applied.len(), world.letters.len()), (4, 0));
}

#[test]
fn a_store_too_slow_for_a_whole_batch_gets_it_in_pieces() {
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    for offset in 0..1_000 {
        scheduler.arrive(record(offset, u8::try_from(offset % 50).unwrap(), b"{}"), Ok(decoded(offset, 0)));
    }
    let (mut now, mut applied) = (Duration::ZERO, Vec::new());
    while scheduler.watermark() != Some(1_000) {
        match scheduler.next(now) {
            // Large batches always exceed the store's deadline.
            Action::Apply(batch) if batch.len() > 100 => {
                now += Duration::from_secs(5);
                let after = scheduler.applied(batch, Err(error(Class::OutageMet)), now);
                assert!(matches!(after, Some(AfterFailure::Waits | AfterFailure::Split)));
            }
            Action::Apply(batch) => {
                applied.extend(batch.iter().map(|task| task.record.offset));
                scheduler.applied(batch, Ok(()), now);
            }
            Action::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
        assert!(now < Duration::from_secs(150), "it does not get through");
    }
    assert!(applied.is_sorted() && applied.len() == 1_000);
    assert_eq!(scheduler.outage(), None);
}

#[test]
fn an_outage_leaves_few_small_batches_behind() {
    // If the store is away, no batch is split. If transactions fail, batches of a few keys are.
    for (class, at_most) in [(Class::Outage, 1), (Class::OutageMet, 60)] {
        leaves_behind(class, at_most);
    }
}

fn leaves_behind(class: Class, at_most: usize) {
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    for offset in 0..1_000 {
        let key = u8::try_from(offset % 50).unwrap();
        scheduler.arrive(record(offset, key, b"{}"), Ok(decoded(offset, key)));
    }
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(3_600) {
        match scheduler.next(now) {
            Action::Apply(batch) => {
                let after = scheduler.applied(batch, Err(error(class)), now);
                assert!(matches!(after, Some(AfterFailure::Waits | AfterFailure::Split | AfterFailure::Held(_))));
            }
            Action::Probe(_) => scheduler.probed(Err(error(class)), now),
            Action::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(scheduler.work.len() <= at_most, "{}", scheduler.work.len());
    let batches = scheduler.work.len() + scheduler.held_keys();
    let mut tried = 0;
    while scheduler.watermark() != Some(1_000) {
        match scheduler.next(now) {
            Action::Apply(batch) => {
                tried += 1;
                assert_eq!(scheduler.applied(batch, Ok(()), now), None);
            }
            Action::Probe(_) => scheduler.probed(Ok(()), now),
            Action::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(tried <= 2 * batches + 1, "{tried}");
}
