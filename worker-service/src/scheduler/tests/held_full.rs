//! Keys that are held alone and have large events: their held events are bounded, and no other key in the partition
//! waits for long, whatever they do.

use super::load::{Came, Incoming, Load, TRANSACTION};
use super::*;
use crate::scheduler::held_alone::{FEW_CONTROLS, MANY_DEAD_LETTERS};

/// The longest wait of another key's event: the time it takes to find the bad keys and to be certain.
const LONGEST: Duration = Duration::from_secs(300);
const KIB: usize = 1024;

fn lasts(log: Vec<Incoming>, long: Duration, seed: u64) -> Came {
    Load::of_outages(seed).last(log, long)
}

impl Came {
    /// The longest wait of an event of a key without bad events.
    fn others_wait(&self, now: Duration) -> Duration {
        let bad: BTreeSet<_> = self.log.iter().filter(|incoming| incoming.bad).map(|incoming| incoming.key).collect();
        self.longest_wait(now, |incoming| !bad.contains(&incoming.key))
    }

    fn letters_of_good_events(&self) -> Vec<usize> {
        self.letters.keys().copied().filter(|index| !self.log[*index].bad).collect()
    }

    /// Checks what must hold for every load.
    fn holds(&self, long: Duration) {
        self.is_borne_within(LONGEST, long);
    }

    fn is_borne_within(&self, most: Duration, long: Duration) {
        assert_eq!(self.pauses, 0, "none of these dead letters counts for the budget");
        let longest = self.others_wait(long);
        assert!(longest <= most, "others wait for {longest:?}; {:?} held, full for {:?}", self.most_held, self.full);
        let Settings { batch_records, batch_bytes, held_records, held_bytes, .. } = Settings::default();
        let (records, bytes) = self.most_held;
        assert!(records < held_records + 2 * batch_records && bytes < held_bytes + 2 * batch_bytes + 2 * 256 * KIB);
        // A dead letter that was never tried follows several tried ones of its key.
        let mut tried = BTreeMap::<u16, usize>::new();
        for (&index, (attempts, _)) in &self.letters {
            let before = tried.entry(self.log[index].key).or_default();
            assert!(*attempts > 0 || *before >= 2, "{index}");
            *before += usize::from(*attempts > 0);
        }
    }
}

/// Events of one key at a fixed interval.
fn every(key: u16, every: Duration, from: Duration, long: Duration, size: usize) -> Vec<Incoming> {
    let count = u32::try_from(long.saturating_sub(from).as_millis() / every.as_millis()).unwrap();
    (0..count).map(|n| Incoming { at: from + every * n, key, size, bad: false }).collect()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_burst_behind_one_bad_event_stops_nobody() {
    let second = Duration::from_secs(1);
    // Also if the burst is the first that this worker gets of a partition, before any other event was applied.
    for (others_from, burst_at) in [(Duration::ZERO, second), (second, Duration::ZERO)] {
        let mut log = every(5, Duration::from_millis(500), others_from, HOUR, 10);
        log.extend((0..46).map(|n| Incoming { at: burst_at, key: 0, size: 255 * KIB, bad: n == 0 }));
        let came = lasts(log, HOUR, 1);
        came.holds(HOUR);
        assert!(came.others_wait(HOUR) < Duration::from_secs(60), "{:?}", came.others_wait(HOUR));
        assert_eq!((came.letters.len(), came.letters_of_good_events().len()), (1, 0));
        assert!(came.done.iter().filter(|done| done.is_some()).count() > came.log.len() - 3, "all others are applied");
    }
}

/// All of the device's events are bad, and it continues to send them.
#[test]
fn nor_does_a_device_that_goes_on_with_large_bad_events() {
    let (long, short) = (HOUR / 12, HOUR / 60);
    for (size, pace, time) in [
        (250 * KIB, 1_000, long),
        (250 * KIB, 200, long),
        (100 * KIB, 100, long),
        (20 * KIB, 50, long),
        // Thousands of events are held, which makes each try slower.
        (2 * KIB, 20, short),
        (100, 20, short),
    ] {
        let mut log = every(0, Duration::from_millis(pace), Duration::from_secs(1), time, size);
        log.iter_mut().for_each(|incoming| incoming.bad = true);
        log.extend(every(5, Duration::from_millis(500), Duration::ZERO, time, 10));
        let came = lasts(log, time, 1);
        came.holds(time);
        assert!(came.others_wait(time) < Duration::from_secs(60), "{size} {:?}", came.others_wait(time));
    }
}

/// Of 300 keys, `bad` are bad; all keys together send 30 events per second.
fn tenants(bad: u16, size: usize, bad_takes: Duration, long: Duration) -> Came {
    let mut random = fastrand::Rng::with_seed(7);
    let events = (0..u32::try_from(long.as_millis() / 33).unwrap()).map(|n| {
        let key = random.u16(..300);
        Incoming { at: Duration::from_millis(33) * n, key, size, bad: key < bad }
    });
    let came = Load { bad_takes, ..Load::of_outages(7) }.last(events.collect(), long);
    assert_eq!(came.letters_of_good_events(), [0; 0]);
    came
}

#[test]
fn ordinary_load_with_a_few_bad_devices_is_borne() {
    for (bad, size) in [(1, 20_000), (5, 20_000), (20, 20_000), (60, 2_000), (60, 20_000), (5, 100_000)] {
        let came = tenants(bad, size, TRANSACTION, HOUR / 6);
        came.holds(HOUR / 6);
        assert!(!came.letters.is_empty(), "{bad} {size}");
    }
}

/// Each try takes 4 s. While ten such keys are found, the others wait for six minutes (see `slow.rs`), and by then the
/// held events have reached their bound.
#[test]
fn so_is_one_with_locked_rows() {
    tenants(3, 50_000, Duration::from_secs(4), HOUR).holds(HOUR);
    tenants(10, 20_000, Duration::from_secs(4), HOUR).is_borne_within(Duration::from_secs(480), HOUR);
}

/// How a key with bad events sends them.
#[derive(Debug, Clone)]
struct Bad {
    size: usize,
    every: Duration,
    from: Duration,
    /// The probability that an event is bad.
    share: f64,
}

fn bad() -> impl Strategy<Value = Bad> {
    let size = prop_oneof![100..2_000_usize, 2_000..50_000_usize, 50_000..255 * KIB];
    (size, 1..100_u64, 0..300_u64, prop_oneof![Just(1.0), Just(0.2), 0.0..1.0f64]).prop_map(
        |(size, every, from, share)| {
            // No more than a partition can handle: at most 500 KB/s per key and, with good events between the bad
            // ones, two bad events in five seconds.
            let bytes = Duration::from_micros(2 * size as u64);
            let bad = if share < 1.0 { Duration::from_secs_f64(2.5 * share) } else { Duration::ZERO };
            let every = Duration::from_millis(every * 10).max(bytes).max(bad);
            Bad { size, every, from: Duration::from_secs(from), share }
        },
    )
}

fn log_of(keys: &[Bad], long: Duration, seed: u64) -> Vec<Incoming> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut log = every(100, Duration::from_millis(300), Duration::ZERO, long, 500);
    log.extend(every(101, Duration::from_secs(20), Duration::from_millis(7), long, 5_000));
    for (n, key) in (0..).zip(keys) {
        let events = every(n, key.every, key.from, long, key.size);
        log.extend(events.into_iter().map(|incoming| Incoming { bad: random.f64() < key.share, ..incoming }));
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn whatever_devices_that_are_held_alone_do_the_others_go_on(
        keys in prop::collection::vec(bad(), 1..6), seed: u64
    ) {
        let long = Duration::from_secs(900);
        let came = lasts(log_of(&keys, long, seed), long, seed);
        came.holds(long);
        // Every dead letter that was tried is bad. One that followed many others untried may be good.
        for index in came.letters_of_good_events() {
            prop_assert_eq!(came.letters[&index].0, 0, "{}", index);
        }
    }

    #[test]
    fn a_true_outage_meanwhile_makes_no_letter(
        keys in prop::collection::vec(bad(), 1..6), from in 30..400_u64, lasts_for in 1..400_u64, seed: u64
    ) {
        let long = Duration::from_secs(900);
        let away = Duration::from_secs(from)..Duration::from_secs(from + lasts_for);
        let came = Load::of_outages(seed).away(away.clone()).last(log_of(&keys, long, seed), long);
        for (&index, &(attempts, at)) in &came.letters {
            prop_assert!(came.log[index].bad || attempts == 0, "{}", index);
            // Events that were almost certain before may still fail once more at the beginning.
            let soon = away.start + Duration::from_secs(5);
            prop_assert!(!(soon..away.end).contains(&at), "{} at {:?}", index, at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Keys that were set aside in a general outage are tried as soon as others succeed, however long their wait was.
    #[test]
    fn after_an_outage_everything_is_applied_within_seconds(
        keys in 1..30u16, pace in 100..2_000u64, from in 5..60u64, lasts_for in 1..400u64, seed: u64
    ) {
        let of = |key| every(key, Duration::from_millis(pace), Duration::from_millis(u64::from(key) * 37), HOUR / 6, 10);
        let log = (0..keys).flat_map(of).collect();
        let end = Duration::from_secs(from + lasts_for);
        let came = Load::of_outages(seed).away(Duration::from_secs(from)..end).last(log, HOUR / 6);
        prop_assert!(came.letters.is_empty());
        let waited = came.log.iter().zip(&came.done).filter(|(incoming, _)| incoming.at < end);
        let last = waited.map(|(_, done)| done.unwrap_or(Duration::MAX)).max().unwrap_or_default();
        prop_assert!(last <= end + Duration::from_secs(12), "{:?} after the end", last.saturating_sub(end));
    }
}

#[test]
fn many_letters_in_a_row_take_others_with_them_only_while_much_is_held() {
    let log = |pace| {
        let mut log = every(0, Duration::from_millis(pace), Duration::from_secs(1), HOUR / 12, 2 * KIB);
        log.iter_mut().for_each(|incoming| incoming.bad = true);
        log.extend(every(5, Duration::from_millis(500), Duration::ZERO, HOUR / 12, 10));
        log
    };
    let untried = |came: &Came| came.letters.values().filter(|(attempts, _)| *attempts == 0).count();
    let came = lasts(log(5_000), HOUR / 12, 1);
    assert_eq!(untried(&came), 0);
    let came = lasts(log(10), HOUR / 12, 1);
    let tried: Vec<_> = came.letters.values().map(|(attempts, _)| *attempts).filter(|tries| *tries > 0).collect();
    assert!(untried(&came) > 1_000 && tried.len() > MANY_DEAD_LETTERS);
    assert!(tried.iter().all(|tries| *tries > FEW_CONTROLS));
}
