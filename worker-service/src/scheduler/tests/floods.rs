//! Keys that send much of which each event fails on its own: nobody else waits for their tries.

use super::*;
use crate::scheduler::one_by_one::MAY_HOLD;

/// How long a transaction takes that others are in, a try that fails, and dead letters.
const TRANSACTION: Duration = Duration::from_millis(20);
const TRY: Duration = Duration::from_millis(5);
const LETTERS: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
struct Incoming {
    at: Duration,
    key: u8,
    fails: bool,
}

#[derive(Debug, Default)]
struct Came {
    /// When each had its effect.
    done: Vec<Option<Duration>>,
    most_held: usize,
    /// How often each failed alone.
    tries: BTreeMap<usize, u32>,
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap()
}

/// Lets it come in, in the order of time, until all of it had its effect, or for so long.
fn lasts(mut log: Vec<Incoming>, long: Duration) -> (Vec<Incoming>, Came) {
    log.sort_by_key(|incoming| incoming.at);
    let mut scheduler = Scheduler::new(Settings::default(), 1);
    let mut came = Came { done: vec![None; log.len()], ..Came::default() };
    let (mut now, mut next) = (Duration::ZERO, 0);
    while now < long && came.done.contains(&None) {
        while scheduler.has_room() && log.get(next).is_some_and(|incoming| incoming.at <= now) {
            let offset = i64::try_from(next).unwrap();
            scheduler.arrive(record(offset, log[next].key, b"{}"), Ok(decoded(offset, log[next].key)));
            next += 1;
        }
        match scheduler.next(now) {
            Action::Apply(batch) => {
                let offsets: Vec<_> = batch.iter().map(|task| index(task.record.offset)).collect();
                let fails = offsets.iter().any(|at| log[*at].fails);
                now += if fails { TRY } else { TRANSACTION };
                match &offsets[..] {
                    [at] if fails => *came.tries.entry(*at).or_default() += 1,
                    _ if fails => {}
                    done => done.iter().for_each(|at| came.done[*at] = Some(now)),
                }
                scheduler.applied(batch, if fails { Err(error(Class::Failed)) } else { Ok(()) }, now);
            }
            Action::DeadLetter(letters) => {
                now += LETTERS;
                for letter in &letters {
                    assert_eq!(came.tries.get(&index(letter.record.offset)), Some(&letter.attempts));
                    came.done[index(letter.record.offset)] = Some(now);
                }
                scheduler.dead_lettered(sent(letters, Ok(())), now);
            }
            Action::Wait(until) => {
                // Until more comes in.
                let soon = if next < log.len() { now + TRANSACTION } else { long };
                now = until.map_or(soon, |until| until.clamp(now + Duration::from_millis(1), soon));
            }
            Action::Pause | Action::Probe(_) => panic!("so few keys are no flood, and this is no outage"),
        }
        came.most_held = came.most_held.max(scheduler.held.records());
    }
    (log, came)
}

/// Others report so often, each time another one.
fn others(every: Duration, long: Duration) -> impl Iterator<Item = Incoming> {
    let times = (0..).map(move |n: u32| (n, every * n)).take_while(move |(_, at)| *at < long);
    times.map(|(n, at)| Incoming { at, key: 10 + u8::try_from(n % 200).unwrap(), fails: false })
}

/// The longest wait of an event of a key that has none that fails.
fn longest_wait(log: &[Incoming], came: &Came, now: Duration) -> Duration {
    let of_others = log.iter().zip(&came.done).filter(|(incoming, _)| incoming.key >= 10);
    of_others.map(|(incoming, done)| done.unwrap_or(now).saturating_sub(incoming.at)).max().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Bursts of three keys, of which some events fail, or all of them.
    #[test]
    fn nobody_waits_for_a_burst_of_events_that_fail(
        bursts in prop::collection::vec((0..20_000u64, 0..3u8, 1..600usize, prop_oneof![Just(1.0), 0.0..1.0]), 1..4),
        seed: u64,
    ) {
        let (mut random, long) = (fastrand::Rng::with_seed(seed), Duration::from_secs(10_000));
        let mut log: Vec<_> = others(Duration::from_millis(10), Duration::from_secs(60)).collect();
        for (at, key, events, part) in bursts {
            let at = Duration::from_millis(at);
            log.extend((0..events).map(|_| Incoming { at, key, fails: random.f64() < part }));
        }
        let (log, came) = lasts(log, long);
        let longest = longest_wait(&log, &came, long);
        // The batch that they came with is taken apart by key; then they wait for a batch, a try and its letter at most.
        prop_assert!(longest <= Duration::from_secs(1), "{:?}", longest);
        prop_assert!(!came.done.contains(&None), "each of theirs is decided");
    }
}

/// It sends nineteen of twenty events, and more than can be tried one by one.
#[test]
fn an_endless_flood_leaves_room_for_others_and_is_tried_all_the_time() {
    let long = Duration::from_secs(120);
    let flood = (0..60_000).map(|n: u32| Incoming { at: Duration::from_millis(n.into()), key: 0, fails: true });
    let log = others(Duration::from_millis(20), long).chain(flood).collect();
    let (log, came) = lasts(log, long);
    let Settings { batch_records, held_records, .. } = Settings::default();
    assert!(came.most_held <= held_records / MAY_HOLD + 2 * batch_records, "{}", came.most_held);
    let done = |of_flood: bool| {
        let such = log.iter().zip(&came.done).filter(|(incoming, _)| (incoming.key == 0) == of_flood);
        such.filter(|(_, done)| done.is_some()).count()
    };
    // A try with its letter takes 10 ms: of two minutes, 12,000 at most. Each twentieth event costs a transaction.
    assert!(done(true) > 7_000, "{}", done(true));
    assert!(done(false) >= done(true) / 20, "{} of others, {} of the flood", done(false), done(true));
    assert!(came.tries.values().filter(|tries| **tries > 1).count() < 10, "one try each");
}

/// It sends what takes less than half of the time.
#[test]
fn where_there_is_time_for_all_of_it_nobody_waits() {
    let long = Duration::from_secs(120);
    let flood = (0..3_600).map(|n: u32| Incoming { at: Duration::from_millis(n.into()) * 33, key: 0, fails: true });
    let log = others(Duration::from_millis(10), long).chain(flood).collect();
    let (log, came) = lasts(log, long);
    assert!(came.most_held < 1_000, "{}", came.most_held);
    let longest = longest_wait(&log, &came, long);
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

fn arrive(scheduler: &mut Scheduler, offsets: std::ops::Range<i64>, key: u8) {
    offsets.for_each(|offset| scheduler.arrive(record(offset, key, b"{}"), Ok(decoded(offset, key))));
}

/// The next batch, which is of this key alone, takes so long and comes to this.
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

/// Device 1 alone meets an outage, each time for 4 s: for as long no key that is set aside has a turn.
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

/// Its events failed together, and then the first of them met an outage on its own: it waits for a turn, nobody for it.
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
    // Others succeed again: its time has come, but not its turn.
    arrive(&mut scheduler, 14..15, 11);
    assert_eq!(comes_to(&mut scheduler, &mut now, "d11", TRANSACTION, None), None);
    let key = decoded(0, 0).envelope.key;
    assert!(scheduler.held.is_apart_and_due(&key, now) && scheduler.suspects_of_outage.is_aside(&key));
    arrive(&mut scheduler, 15..16, 0);
    arrive(&mut scheduler, 16..17, 12);
    assert_eq!(offsets(scheduler.next(now)), [16]);
}

/// What others hold, for whatever reason, is not what is tried apart.
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
