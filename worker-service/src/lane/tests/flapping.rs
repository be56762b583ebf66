//! A database that comes and goes, by chance or in step with something: no good record becomes a dead letter, however
//! unlucky, and however much its device reports. And one bad record is found there nevertheless.

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
    devices: u8,
    /// A device that fails by itself.
    bad: Option<u8>,
}

/// What came of it.
#[derive(Debug, Default)]
struct Came {
    letters: Vec<u8>,
    applied: usize,
    held_alone: bool,
}

impl Weather {
    fn last_for(&self, long: Duration) -> Came {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut lane = Lane::new(Settings { held_records: 500, held_bytes: usize::MAX / 2, ..small() }, self.seed);
        let (mut now, mut next, mut offset) = (Duration::ZERO, Duration::ZERO, 0_i64);
        let mut came = Came::default();
        while now < long {
            while next <= now && lane.has_room() {
                let device = random.u8(..self.devices);
                lane.arrive(record(offset, device, b"{}"), Ok(decoded(offset, device)));
                (offset, next) = (offset + 1, next + self.every);
            }
            match lane.next(now) {
                Next::Apply(batch) => {
                    let phase = now.as_secs_f64() % self.period.as_secs_f64() / self.period.as_secs_f64();
                    now += self.takes;
                    let is_bad = |task: &Task| self.bad.is_some_and(|bad| task.record.key() == Some(&key(bad)));
                    let fails = if phase < self.down || random.f64() < self.chance {
                        Some(if random.f64() < self.met { Class::OutageMet } else { Class::Outage })
                    } else {
                        batch.iter().any(is_bad).then_some(Class::OutageMet)
                    };
                    came.applied += if fails.is_none() { batch.len() } else { 0 };
                    let after = lane.applied(batch, fails.map_or(Ok(()), |class| Err(error(class))), now);
                    came.held_alone |= matches!(after, Some(AfterFailure::HeldAlone(_)));
                }
                Next::DeadLetter(letters) => {
                    let device = |letter: &DeadLetter| letter.record.key().unwrap()[1] - b'0';
                    came.letters.extend(letters.iter().map(device));
                    lane.dead_lettered(sent(letters, Ok(())), now);
                }
                Next::Wait(until) => now = until.unwrap_or(next).min(next.max(now + self.takes)),
                Next::Pause => lane.resume(),
            }
        }
        came
    }
}

fn key(device: u8) -> [u8; 2] {
    [b'd', b'0' + device]
}

fn weather() -> impl Strategy<Value = Weather> {
    let how = (0.0..0.98f64, 0.5..90.0f64, 0.0..0.95f64, 0.0..1.0f64);
    let what = (1..100u64, 20..2_000u64, 1..8u8);
    (any::<u64>(), how, what).prop_map(|(seed, (chance, period, down, met), (takes, every, devices))| Weather {
        seed,
        chance,
        period: Duration::from_secs_f64(period),
        down,
        met,
        takes: Duration::from_millis(takes),
        every: Duration::from_millis(every),
        devices,
        bad: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_good_record_is_a_dead_letter(weather in weather()) {
        let came = weather.last_for(Duration::from_secs(3_600));
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
        prop_assert!(weather.last_for(Duration::from_secs(3_600)).letters.is_empty());
    }

    #[test]
    fn a_device_that_fails_by_itself_is_found_also_where_others_fail_now_and_then(weather in weather()) {
        let weather = Weather {
            chance: weather.chance / 5.0,
            down: 0.0,
            devices: weather.devices.max(3),
            bad: Some(0),
            ..weather
        };
        let came = weather.last_for(Duration::from_secs(3_600));
        prop_assert!(came.held_alone && !came.letters.is_empty() && came.letters.iter().all(|device| *device == 0));
        prop_assert!(came.applied > 500, "{}", came.applied);
    }
}
