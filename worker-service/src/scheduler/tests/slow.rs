//! Keys that fail alone, each time only after the store's deadline, because their rows are locked. The partition waits
//! for each try, and the other keys make progress nevertheless.

use super::load::{Came, Incoming, Load};
use super::*;

const DEVICES: u16 = 300;
/// How long a try with a locked row takes before it fails.
const DEADLINE: Duration = Duration::from_secs(4);
/// The interval between events: 22 per second.
const EVERY: Duration = Duration::from_micros(45_454);

/// Each key starts with one event; the later ones come from random keys.
fn lasts(locked: &BTreeSet<u16>, long: Duration, seed: u64) -> Came {
    let mut random = fastrand::Rng::with_seed(seed);
    let times = (0..).map(|n| EVERY * n).take_while(|at| *at < long);
    let later = times.map(|at| (random.u16(..DEVICES), at));
    let log = (0..DEVICES).map(|key| (key, Duration::ZERO)).chain(later);
    let log = log.map(|(key, at)| Incoming { at, key, size: 2, bad: locked.contains(&key) }).collect();
    Load { bad_takes: DEADLINE, ..Load::of_outages(seed) }.last(log, long)
}

/// The total duration of failing tries that started at `from` or later.
fn failing_from(came: &Came, from: Duration) -> Duration {
    came.failures.iter().filter(|at| **at >= from).map(|_| DEADLINE).sum()
}

fn positions(n: usize) -> impl Strategy<Value = BTreeSet<u16>> {
    prop::collection::btree_set(0..DEVICES, n)
}

/// Checks a load with these locked rows: all are found within `found_within` seconds, during which the others may wait.
/// From then on no other key's event waits longer than `waits` seconds, and the others get half of the time.
fn is_borne(locked: &BTreeSet<u16>, found_within: u64, waits: u64, long: u64, seed: u64) {
    let came = lasts(locked, Duration::from_secs(long), seed);
    assert_eq!(came.pauses, 0, "none of these dead letters counts for the budget");
    assert_eq!(came.found.len(), locked.len(), "all are found, by {:?}", came.found.last());
    let found = *came.found.last().unwrap();
    let (found_within, long) = (Duration::from_secs(found_within), Duration::from_secs(long));
    assert!(found <= found_within, "{found:?}");
    assert_eq!(came.scheduler.suspects_of_outage.alone().count(), locked.len(), "and nobody else is");
    let longest_from = |from| came.longest_wait(long, |incoming| !incoming.bad && incoming.at >= from);
    let longest = longest_from(found);
    assert!(longest <= Duration::from_secs(waits), "{longest:?}");
    assert!(longest_from(Duration::ZERO) <= found_within);
    let failing = failing_from(&came, found);
    assert!(failing <= (long - found) / 2 + DEADLINE, "{failing:?} of {:?}", long - found);
    assert!(came.letters.keys().all(|place| came.log[*place].bad));
    // No other key is left behind.
    let left = came.scheduler.ready.iter().chain(came.scheduler.work.iter().flatten()).count();
    assert!(left < 22 * usize::try_from(waits).unwrap() + 100, "{left}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn three_locked_rows_stop_nobody_for_long(locked in positions(3), seed: u64) {
        // The others wait up to 200 s while they are found; failing tries take about half of the ten minutes.
        is_borne(&locked, 200, 6, 600, seed);
        let came = lasts(&locked, Duration::from_secs(600), seed);
        prop_assert!(failing_from(&came, Duration::ZERO) <= Duration::from_secs(310), "{:?}", came.failures.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn nor_do_thirty(locked in positions(30), seed: u64) {
        is_borne(&locked, 1_300, 6, 1_900, seed);
    }
}

/// One key more than may be set aside before another is applied, all in a row before the others.
#[test]
fn nor_where_more_stand_in_a_row_than_are_set_aside() {
    is_borne(&(0..11).collect(), 600, 6, 1_900, 1);
}
