//! Dead letters: how many are sent at once, and what happens to those that Kafka does not accept.

use super::*;

fn letters_until_pause(scheduler: &mut Scheduler, records: impl Iterator<Item = (i64, u8)>) -> (usize, bool) {
    let mut count = 0;
    for (offset, key) in records {
        scheduler.arrive(record(offset, key, b""), Err(no_event()));
        match scheduler.next(Duration::ZERO) {
            Action::DeadLetter(letters) => {
                count += letters.len();
                scheduler.dead_lettered(sent(letters, Ok(())), Duration::ZERO);
            }
            Action::Pause => return (count, true),
            other => panic!("{other:?}"),
        }
    }
    (count, false)
}

#[test]
fn dead_letters_are_rationed() {
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    assert_eq!(letters_until_pause(&mut scheduler, (0..500).map(|n| (n, 0))), (500, false), "one key is no bad deploy");

    let mut scheduler = Scheduler::new(Settings::default(), 0);
    let many = |n: i64| (n, u8::try_from(n % 50).unwrap());
    assert_eq!(letters_until_pause(&mut scheduler, (0..500).map(many)), (100, true));
    assert!(scheduler.is_paused() && !scheduler.has_room());
    assert!(matches!(scheduler.next(Duration::ZERO), Action::Wait(None)));
    assert_eq!(scheduler.watermark(), Some(100), "the one that was not let through is not lost");
    scheduler.resume();
    assert!(matches!(scheduler.next(Duration::ZERO), Action::DeadLetter(letters) if letters.len() == 1));
}

#[test]
fn a_type_that_is_not_known_is_no_flood_and_no_mark_against_its_device() {
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    for offset in 0..2_000 {
        let refusal = Refusal { reason: Reason::UnknownType, error: String::new() };
        scheduler.arrive(record(offset, u8::try_from(offset % 200).unwrap(), b""), Err(refusal));
        let Action::DeadLetter(letters) = scheduler.next(Duration::ZERO) else { panic!("{offset}") };
        scheduler.dead_lettered(sent(letters, Ok(())), Duration::ZERO);
    }
    // It neither counts in the window nor frees room in it.
    let others = (2_000..2_500).map(|n| (n, u8::try_from(n % 50).unwrap()));
    assert_eq!(letters_until_pause(&mut scheduler, others), (100, true));
    // A failing event of one of those keys still gets all of its tries.
    let records = [(1, 0, Kind::UnknownType), (1, 0, Kind::FailsAlways)];
    let world = World::new(small(), &records, Vec::new()).run(&[1]);
    assert_eq!(world.letters[&102], (Reason::Failed, 4));
}

#[test]
fn letters_that_are_refused_for_an_hour_are_no_flood() {
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    for offset in 0..60 {
        scheduler.arrive(record(offset, u8::try_from(offset).unwrap(), b""), Err(no_event()));
    }
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(3_600) {
        match scheduler.next(now) {
            Action::DeadLetter(letters) => scheduler.dead_lettered(sent(letters, Err("away")), now),
            Action::Wait(Some(until)) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(scheduler.outage().unwrap().starts_with("cannot write dead letters: "));
    let Action::DeadLetter(letters) = scheduler.next(now) else { panic!() };
    assert_eq!(letters.len(), 60);
    scheduler.dead_lettered(sent(letters, Ok(())), now);
    assert_eq!((scheduler.watermark(), scheduler.outage()), (Some(60), None));
}

#[test]
fn of_letters_only_those_refused_are_sent_again() {
    let mut scheduler = Scheduler::new(Settings::default(), 0);
    for offset in 0..6 {
        scheduler.arrive(record(offset, 0, b""), Err(no_event()));
    }
    let Action::DeadLetter(letters) = scheduler.next(Duration::ZERO) else { panic!() };
    let refused = [1, 4];
    let result = |offset| if refused.contains(&offset) { Err("too large".to_owned()) } else { Ok(()) };
    let went: Vec<_> = letters.into_iter().map(|letter| (result(letter.record.offset), letter)).collect();
    scheduler.dead_lettered(went.into_iter().map(|(result, letter)| (letter, result)).collect(), Duration::ZERO);
    assert_eq!((scheduler.watermark(), scheduler.records), (Some(1), 2));
    assert_eq!(scheduler.outage(), Some("cannot write dead letters: too large"));
    let Action::Wait(Some(until)) = scheduler.next(Duration::ZERO) else { panic!() };
    // A dead letter that comes meanwhile is queued behind them and counts for the budget by itself.
    scheduler.arrive(record(6, 0, b""), Err(no_event()));
    let Action::DeadLetter(letters) = scheduler.next(until) else { panic!() };
    assert_eq!(letters.iter().map(|letter| letter.record.offset).collect::<Vec<_>>(), [1, 4, 6]);
    scheduler.dead_lettered(sent(letters, Ok(())), until);
    assert_eq!((scheduler.watermark(), scheduler.outage(), scheduler.records, scheduler.bytes), (Some(7), None, 0, 0));
}
