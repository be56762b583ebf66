//! A database that comes and goes, by chance or in step with something: no good record becomes a dead letter, however
//! unlucky, and however much its key reports. And one bad record is found there nevertheless.

use super::*;

/// How the database fails.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    /// How likely each transaction fails by itself.
    chance: f64,
    /// Every so often, for so much of the time, all of them fail.
    period: Duration,
    down: f64,
    /// How likely a failure is one that a transaction meets; else the database is away.
    met: f64,
    /// How long a transaction takes, and how often an event comes in.
    takes: Duration,
    every: Duration,
    keys: u8,
    /// A key that fails by itself, and how likely each of its events does.
    bad: Option<u8>,
    share: f64,
}

/// What came of it.
#[derive(Debug, Default)]
struct Came {
    letters: Vec<u8>,
    /// Those of events that do not fail by themselves.
    good_letters: usize,
    applied: usize,
    held_alone: bool,
}

impl Weather {
    /// What any transaction meets now.
    fn everybody(&self, now: Duration, random: &mut fastrand::Rng) -> Option<Class> {
        let phase = now.as_secs_f64() % self.period.as_secs_f64() / self.period.as_secs_f64();
        let fails = phase < self.down || random.f64() < self.chance;
        fails.then(|| if random.f64() < self.met { Class::OutageMet } else { Class::Outage })
    }

    fn last_for(&self, long: Duration) -> Came {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut scheduler =
            Scheduler::new(Settings { held_records: 500, held_bytes: usize::MAX / 2, ..small() }, self.seed);
        let (mut now, mut next, mut offset) = (Duration::ZERO, Duration::ZERO, 0_i64);
        let mut bad = BTreeSet::new();
        let mut came = Came::default();
        while now < long {
            while next <= now && scheduler.has_room() {
                let key = random.u8(..self.keys);
                scheduler.arrive(record(offset, key, b"{}"), Ok(decoded(offset, key)));
                if self.bad == Some(key) && (self.share >= 1.0 || random.f64() < self.share) {
                    bad.insert(offset);
                }
                (offset, next) = (offset + 1, next + self.every);
            }
            match scheduler.next(now) {
                Action::Apply(batch) => {
                    let fails = self.everybody(now, &mut random);
                    now += self.takes;
                    let is_bad = |task: &Task| bad.contains(&task.record.offset);
                    let fails = fails.or_else(|| batch.iter().any(is_bad).then_some(Class::OutageMet));
                    came.applied += if fails.is_none() { batch.len() } else { 0 };
                    let after = scheduler.applied(batch, fails.map_or(Ok(()), |class| Err(error(class))), now);
                    came.held_alone |= matches!(after, Some(AfterFailure::HeldAlone(_)));
                }
                Action::Probe(_) => {
                    let fails = self.everybody(now, &mut random);
                    now += self.takes;
                    scheduler.probed(fails.map_or(Ok(()), |class| Err(error(class))), now);
                }
                Action::DeadLetter(letters) => {
                    came.good_letters += letters.iter().filter(|letter| !bad.contains(&letter.record.offset)).count();
                    let key = |letter: &DeadLetter| letter.record.key().unwrap()[1] - b'0';
                    came.letters.extend(letters.iter().map(key));
                    scheduler.dead_lettered(sent(letters, Ok(())), now);
                }
                Action::Wait(until) => now = until.unwrap_or(next).min(next.max(now + self.takes)),
                Action::Pause => scheduler.resume(),
            }
        }
        came
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
        prop_assert!(came.letters.is_empty(), "{came:?}");
    }

    /// Also where it fails by chance alone, or in periods alone.
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
        prop_assert!(came.held_alone && !came.letters.is_empty() && came.letters.iter().all(|key| *key == 0));
        prop_assert!(came.applied > 150, "{}", came.applied);
    }
}

/// Keys, some events of which fail by themselves, where others fail now and then too: of their good events none is a
/// letter, though many of them are tried behind one.
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
            good += came.good_letters;
        }
    }
    assert!(letters > 200, "{letters}");
    assert_eq!(good, 0, "of {letters}");
}
