//! The bucket, with a clock that the tests move.

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;

fn limiter(per_second: u32, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::with_clock("events", per_second, burst, clock.clone()).unwrap(), clock)
}

fn charge<C: Clock + Clone>(limiter: &Limiter<C>, subject: &str, count: u32) -> Result<Standing, Refused> {
    limiter.charge(subject, NonZeroU32::new(count).unwrap())
}

fn wait<C: Clock + Clone>(limiter: &Limiter<C>, count: u32) -> (u64, Standing) {
    match charge(limiter, "a", count) {
        Err(Refused::Until(seconds, standing)) => (seconds, standing),
        other => panic!("{other:?}"),
    }
}

fn pass(clock: &FakeRelativeClock, milliseconds: u64) {
    clock.advance(Duration::from_millis(milliseconds));
}

#[test]
fn what_the_headers_say() {
    let (limiter, _) = limiter(100, 250);
    let standing = Standing { policy: "events", quota: 250, window: 3, remaining: 200, reset: 1 };
    assert_eq!(charge(&limiter, "a", 50), Ok(standing));
    assert_eq!(wait(&limiter, 250), (1, standing));
    assert_eq!(charge(&limiter, "a", 251), Err(Refused::Never(Standing { remaining: 250, reset: 0, ..standing })));
}

#[test]
fn a_refund_pays_the_next_requests_of_its_subject() {
    let (limiter, clock) = limiter(1, 10);
    let standing = charge(&limiter, "a", 10).unwrap();
    assert_eq!(limiter.refund("a", 7, standing).remaining, 7);
    charge(&limiter, "b", 10).unwrap();
    charge(&limiter, "b", 1).unwrap_err();
    // One of the 8 was not refunded.
    let (seconds, standing) = wait(&limiter, 8);
    assert_eq!((seconds, standing.remaining), (1, 7), "and it is still there");
    assert_eq!(charge(&limiter, "a", 11), Err(Refused::Never(Standing { remaining: 10, reset: 0, ..standing })));
    pass(&clock, 1_000);
    assert_eq!(charge(&limiter, "a", 6).unwrap().remaining, 2);
    pass(&clock, 1_000);
    assert_eq!(charge(&limiter, "a", 3).unwrap().remaining, 0);
    charge(&limiter, "a", 1).unwrap_err();
    // When the bucket is full again, a refund is worth nothing.
    let standing = wait(&limiter, 1).1;
    limiter.refund("a", 5, standing);
    pass(&clock, 10_000);
    charge(&limiter, "a", 10).unwrap();
    charge(&limiter, "a", 2).unwrap_err();
}

#[test]
fn idle_subjects_are_forgotten_and_their_number_is_bounded() {
    let known = |limiter: &Limiter<FakeRelativeClock>| limiter.buckets.load().len();
    let between = LOOK_EVERY as usize;
    let (brief, clock) = limiter(1_000, 1);
    for number in 0..20_000 {
        // Each is idle again after a millisecond.
        charge(&brief, &number.to_string(), 1).unwrap();
        pass(&clock, 1);
    }
    assert!(known(&brief) <= between + 1, "{}", known(&brief));

    let (slow, _) = limiter(1, 1);
    let mut most = 0;
    for number in 0..160_000 {
        charge(&slow, &number.to_string(), 1).unwrap();
        most = most.max(known(&slow));
    }
    assert!((MOST..=MOST + MOST / 4).contains(&most), "{most}");
    assert!(known(&slow) < MOST, "they began anew");
}

#[test]
fn extremes() {
    for (per_second, burst) in [(1, 10_000_000), (1_000_000, 10_000_000), (1_000_000, 1)] {
        let (limiter, clock) = limiter(per_second, burst);
        charge(&limiter, "a", burst).unwrap();
        let (seconds, _) = wait(&limiter, burst);
        pass(&clock, seconds * 1000);
        charge(&limiter, "a", burst).unwrap();
        charge(&limiter, "a", u32::MAX).unwrap_err();
    }
}

/// A reference bucket with fractions: its level in thousandths of an event, and the time of that level.
struct Bucket {
    rate: u64,
    burst: u64,
    level: u64,
    at: u64,
}

impl Bucket {
    /// A millisecond adds `rate` thousandths.
    fn level(&self, now: u64) -> u64 {
        (self.level + (now - self.at) * self.rate).min(self.burst * 1000)
    }

    fn take(&mut self, count: u64, now: u64) -> bool {
        let level = self.level(now);
        let good = level >= count * 1000;
        if good {
            (self.level, self.at) = (level - count * 1000, now);
        }
        good
    }
}

proptest! {
    /// A client that waits as long as the limiter says succeeds at once, and never waits a second longer than needed.
    #[test]
    fn a_client_that_obeys_once_succeeds(
        (rate, burst) in (prop::sample::select(&[1, 2, 5, 10, 100, 1000][..]), 1..200_u32),
        requests in prop::collection::vec((0..5000_u64, 1..300_u32), 1..60),
    ) {
        let (limiter, clock) = limiter(rate, burst);
        let mut bucket = Bucket { rate: rate.into(), burst: burst.into(), level: u64::from(burst) * 1000, at: 0 };
        let mut now = 0;
        for (pause, count) in requests {
            now += pause;
            pass(&clock, pause);
            match charge(&limiter, "a", count) {
                Ok(standing) => {
                    prop_assert!(bucket.take(count.into(), now), "{} at {} ms", count, now);
                    prop_assert_eq!(u64::from(standing.remaining), bucket.level(now) / 1000);
                    let full = (u64::from(burst) * 1000 - bucket.level(now)).div_ceil(u64::from(rate));
                    prop_assert!((full.div_ceil(1000)..=full.div_ceil(1000) + 1).contains(&standing.reset));
                }
                Err(Refused::Never(_)) => prop_assert!(count > burst),
                Err(Refused::Until(seconds, standing)) => {
                    prop_assert!(count <= burst);
                    prop_assert_eq!(u64::from(standing.remaining), bucket.level(now) / 1000);
                    prop_assert!(bucket.level(now) < u64::from(count) * 1000);
                    let sooner = now + (seconds - 1) * 1000;
                    prop_assert!(bucket.level(sooner) < u64::from(count) * 1000, "{} s is too long", seconds);
                    now += seconds * 1000;
                    pass(&clock, seconds * 1000);
                    prop_assert!(charge(&limiter, "a", count).is_ok(), "{} after {} s", count, seconds);
                    prop_assert!(bucket.take(count.into(), now));
                }
            }
        }
    }
}
