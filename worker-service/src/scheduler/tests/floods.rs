//! Keys with many events, each of which fails on its own: other keys do not wait for their tries.

use super::load::{Came, Incoming, Load, TRANSACTION};
use super::*;
use crate::scheduler::one_by_one::MAY_HOLD;

/// How long a failing try takes, and the sending of dead letters.
const TRY: Duration = Duration::from_millis(5);
const LETTERS: Duration = Duration::from_millis(5);

fn lasts(log: Vec<Incoming>, long: Duration) -> Came {
    let load = Load { class: Class::Failed, bad_takes: TRY, letters_take: LETTERS, ..Load::of_outages(1) };
    let came = load.last(log, long);
    assert_eq!((came.probes, came.pauses), (0, 0), "this is no outage, and so few keys are no flood");
    for (place, (attempts, _)) in &came.letters {
        assert_eq!(came.tries.get(place), Some(attempts));
    }
    came
}

fn incoming(at: Duration, key: u16, bad: bool) -> Incoming {
    Incoming { at, key, size: 2, bad }
}

/// Events of other keys at this interval, each time of another key.
fn others(every: Duration, long: Duration) -> impl Iterator<Item = Incoming> {
    let times = (0..).map(move |n: u32| (n, every * n)).take_while(move |(_, at)| *at < long);
    times.map(|(n, at)| incoming(at, 10 + u16::try_from(n % 200).unwrap(), false))
}

/// The longest wait of an event of a key without failing events.
fn longest_wait(came: &Came, now: Duration) -> Duration {
    came.longest_wait(now, |incoming| incoming.key >= 10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Bursts of three keys, with some or all events failing.
    #[test]
    fn nobody_waits_for_a_burst_of_events_that_fail(
        bursts in prop::collection::vec((0..20_000u64, 0..3u16, 1..600usize, prop_oneof![Just(1.0), 0.0..1.0]), 1..4),
        seed: u64,
    ) {
        let (mut random, long) = (fastrand::Rng::with_seed(seed), Duration::from_secs(10_000));
        let mut log: Vec<_> = others(Duration::from_millis(10), Duration::from_secs(60)).collect();
        for (at, key, events, part) in bursts {
            let at = Duration::from_millis(at);
            log.extend((0..events).map(|_| incoming(at, key, random.f64() < part)));
        }
        let came = lasts(log, long);
        let longest = longest_wait(&came, long);
        // The batch that they came in is split by key; then they wait at most for a batch, a try and its dead letter.
        prop_assert!(longest <= Duration::from_secs(1), "{:?}", longest);
        prop_assert!(!came.done.contains(&None), "each of theirs is decided");
    }
}

/// The flood sends about nineteen of twenty events, more than can be tried one by one.
#[test]
fn an_endless_flood_leaves_room_for_others_and_is_tried_all_the_time() {
    let long = Duration::from_secs(120);
    let flood = (0..60_000).map(|n: u32| incoming(Duration::from_millis(n.into()), 0, true));
    let came = lasts(others(Duration::from_millis(20), long).chain(flood).collect(), long);
    let Settings { batch_records, held_records, .. } = Settings::default();
    assert!(came.most_held.0 <= held_records / MAY_HOLD + 2 * batch_records, "{:?}", came.most_held);
    let done = |of_flood: bool| {
        let such = came.log.iter().zip(&came.done).filter(|(incoming, _)| (incoming.key == 0) == of_flood);
        such.filter(|(_, done)| done.is_some()).count()
    };
    // A try and its dead letter take 10 ms: at most 12,000 in two minutes. Every twentieth event costs a transaction.
    assert!(done(true) > 7_000, "{}", done(true));
    assert!(done(false) >= done(true) / 20, "{} of others, {} of the flood", done(false), done(true));
    assert!(came.tries.values().filter(|tries| **tries > 1).count() < 10, "one try each");
}

/// The flood takes less than half of the time.
#[test]
fn where_there_is_time_for_all_of_it_nobody_waits() {
    let long = Duration::from_secs(120);
    let flood = (0..3_600).map(|n: u32| incoming(Duration::from_millis(n.into()) * 33, 0, true));
    let came = lasts(others(Duration::from_millis(10), long).chain(flood).collect(), long);
    assert!(came.most_held.0 < 1_000, "{:?}", came.most_held);
    let longest = longest_wait(&came, long);
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

fn arrive(scheduler: &mut Scheduler, offsets: std::ops::Range<i64>, key: u8) {
    offsets.for_each(|offset| scheduler.arrive(record(offset, key, b"{}"), Ok(decoded(offset, key))));
}

/// Runs the next batch, which must be of this key alone, with this duration and result.
fn comes_to(
    scheduler: &mut Scheduler,
    now: &mut Duration,
    key: &str,
    takes: Duration,
    class: Option<Class>,
) -> Option<AfterFailure> {
    loop {
        match scheduler.next(*now) {
            Action::Apply(batch) => {
                assert!(batch.iter().all(|task| task.key().as_str() == key), "{batch:?}");
                *now += takes;
                return scheduler.applied(batch, class.map_or(Ok(()), |class| Err(error(class))), *now);
            }
            Action::Wait(Some(until)) => *now = until,
            other => panic!("{other:?}"),
        }
    }
}

/// Device 1 alone meets an outage error, after 4 s each time: no key that is set aside has a turn for as long
/// afterwards.
fn with_one_held_alone() -> (Scheduler, Duration) {
    let mut scheduler = Scheduler::new(Settings { held_records: 10 * MAY_HOLD, ..Settings::default() }, 1);
    let mut now = Duration::ZERO;
    arrive(&mut scheduler, 0..1, 1);
    for _ in 0..3 {
        comes_to(&mut scheduler, &mut now, "d1", TRY, Some(Class::OutageMet));
    }
    arrive(&mut scheduler, 1..2, 10);
    assert_eq!(comes_to(&mut scheduler, &mut now, "d10", TRANSACTION, None), None);
    let after = comes_to(&mut scheduler, &mut now, "d1", Duration::from_secs(4), Some(Class::OutageMet));
    assert!(matches!(after, Some(AfterFailure::HeldAlone(_))), "{after:?}");
    (scheduler, now)
}

fn offsets(next: Action<()>) -> Vec<i64> {
    match next {
        Action::Apply(batch) => batch.iter().map(|task| task.record.offset).collect(),
        other => panic!("others wait for its turn: {other:?}"),
    }
}

/// The key's events failed together, and then the first met an outage on its own: it waits for a turn, and other keys
/// do not wait for it.
#[test]
fn nobody_waits_for_one_that_was_tried_apart_and_is_set_aside() {
    let (mut scheduler, mut now) = with_one_held_alone();
    arrive(&mut scheduler, 2..14, 0);
    assert_eq!(comes_to(&mut scheduler, &mut now, "d0", TRY, Some(Class::Failed)), Some(AfterFailure::Split));
    for _ in 0..2 {
        let after = comes_to(&mut scheduler, &mut now, "d0", TRY, Some(Class::OutageMet));
        assert_eq!(after, Some(AfterFailure::Waits));
    }
    let after = comes_to(&mut scheduler, &mut now, "d0", TRY, Some(Class::OutageMet));
    assert!(matches!(after, Some(AfterFailure::Held(_))), "{after:?}");
    // Others succeed again: the key is due, but it is not its turn.
    arrive(&mut scheduler, 14..15, 11);
    assert_eq!(comes_to(&mut scheduler, &mut now, "d11", TRANSACTION, None), None);
    let key = decoded(0, 0).envelope.key;
    assert!(scheduler.held.is_apart_and_due(&key, now) && scheduler.suspects_of_outage.is_aside(&key));
    arrive(&mut scheduler, 15..16, 0);
    arrive(&mut scheduler, 16..17, 12);
    assert_eq!(offsets(scheduler.next(now)), [16]);
}

/// Events of keys held for other reasons do not count as events that are tried one by one.
#[test]
fn what_is_held_alone_makes_nobody_wait_for_what_is_tried_apart() {
    let (mut scheduler, mut now) = with_one_held_alone();
    arrive(&mut scheduler, 2..13, 1);
    arrive(&mut scheduler, 13..15, 0);
    assert_eq!(comes_to(&mut scheduler, &mut now, "d0", TRY, Some(Class::Failed)), Some(AfterFailure::Split));
    assert_eq!(comes_to(&mut scheduler, &mut now, "d0", TRY, None), None, "the first of the two");
    arrive(&mut scheduler, 15..16, 0);
    arrive(&mut scheduler, 16..17, 12);
    assert_eq!(offsets(scheduler.next(now)), [16], "it is the others' turn");
}
