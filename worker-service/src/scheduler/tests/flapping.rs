//! A database that fails intermittently, at random or periodically: no good record becomes a dead letter, however
//! unlucky it is and however many events its key has. A bad record is found nevertheless.

use super::load::{Came, Incoming, Load};
use super::*;

/// How the database fails.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    /// The probability that a transaction fails by itself.
    chance: f64,
    /// In each period, all transactions fail during this fraction of it.
    period: Duration,
    down: f64,
    /// The probability that a failure is met by a transaction; otherwise the database is away.
    met: f64,
    /// How long a transaction takes, and how often an event comes in.
    takes: Duration,
    every: Duration,
    keys: u8,
    /// A key that fails by itself, and the probability that each of its events does.
    bad: Option<u8>,
    share: f64,
}

impl Weather {
    /// The failure that any transaction meets now.
    fn everybody(&self, now: Duration, random: &mut fastrand::Rng) -> Option<Class> {
        let phase = now.as_secs_f64() % self.period.as_secs_f64() / self.period.as_secs_f64();
        let fails = phase < self.down || random.f64() < self.chance;
        fails.then(|| if random.f64() < self.met { Class::OutageMet } else { Class::Outage })
    }

    fn last_for(&self, long: Duration) -> Came {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let times = (0..).map(|n| self.every * n).take_while(|at| *at < long);
        let incoming = |at| {
            let key = random.u8(..self.keys);
            let bad = self.bad == Some(key) && (self.share >= 1.0 || random.f64() < self.share);
            Incoming { at, key: key.into(), size: 2, bad }
        };
        let log = times.map(incoming).collect();
        let settings = Settings { held_records: 500, held_bytes: usize::MAX / 2, ..small() };
        let everybody = Box::new(move |now| self.everybody(now, &mut random));
        let load =
            Load { settings, everybody, takes: self.takes, bad_takes: self.takes, ..Load::of_outages(self.seed) };
        load.last(log, long)
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    let how = (0.0..0.98f64, 0.5..90.0f64, 0.0..0.95f64, 0.0..1.0f64);
    let what = (1..100u64, 20..2_000u64, 1..8u8);
    (any::<u64>(), how, what).prop_map(|(seed, (chance, period, down, met), (takes, every, keys))| Weather {
        seed,
        chance,
        period: Duration::from_secs_f64(period),
        down,
        met,
        takes: Duration::from_millis(takes),
        every: Duration::from_millis(every),
        keys,
        bad: None,
        share: 1.0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_good_record_is_a_dead_letter(weather in weather()) {
        let came = weather.last_for(Duration::from_secs(1_200));
        prop_assert!(came.letters.is_empty(), "{:?}", came.letters);
    }

    /// The same if it fails only at random, or only periodically.
    #[test]
    fn nor_where_it_keeps_step(weather in weather(), periodic: bool) {
        let weather = if periodic {
            Weather { chance: 0.0, met: 1.0, ..weather }
        } else {
            Weather { down: 0.0, met: 1.0, ..weather }
        };
        prop_assert!(weather.last_for(Duration::from_secs(1_200)).letters.is_empty());
    }

    #[test]
    fn a_device_that_fails_by_itself_is_found_also_where_others_fail_now_and_then(weather in weather()) {
        let weather = Weather {
            chance: weather.chance / 5.0,
            down: 0.0,
            keys: weather.keys.max(3),
            bad: Some(0),
            ..weather
        };
        let came = weather.last_for(Duration::from_secs(1_200));
        prop_assert!(came.held_alone && !came.letters.is_empty());
        prop_assert!(came.letters.keys().all(|place| came.log[*place].key == 0));
        let applied = came.done.iter().flatten().count() - came.letters.len();
        prop_assert!(applied > 150, "{}", applied);
    }
}

/// Some events of a key fail by themselves, and other keys fail now and then, too. No good event becomes a dead letter,
/// although many are tried right behind a bad one.
#[test]
fn of_a_device_with_good_and_bad_events_only_the_bad_ones_are_letters() {
    let (mut letters, mut good) = (0, 0);
    for seed in 0..6 {
        for (chance, period, down) in
            [(0.1, 1.0, 0.0), (0.3, 1.0, 0.0), (0.5, 1.0, 0.0), (0.7, 1.0, 0.0), (0.0, 30.0, 0.1), (0.0, 10.0, 0.3)]
        {
            let weather = Weather {
                seed,
                chance,
                period: Duration::from_secs_f64(period),
                down,
                met: 1.0,
                takes: Duration::from_millis(20),
                every: Duration::from_millis(100),
                keys: 2 + u8::try_from(seed % 3).unwrap(),
                bad: Some(0),
                share: [0.1, 0.2, 0.5][usize::try_from(seed % 3).unwrap()],
            };
            let came = weather.last_for(Duration::from_secs(600));
            letters += came.letters.len();
            good += came.letters.keys().filter(|place| !came.log[**place].bad).count();
        }
    }
    assert!(letters > 200, "{letters}");
    assert_eq!(good, 0, "of {letters}");
}
