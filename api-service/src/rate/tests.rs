//! The bucket, without sleeping.

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1000);

fn at(milliseconds: u64) -> Duration {
    START + Duration::from_millis(milliseconds)
}

/// A request that takes all it needs at once.
fn charge(limiter: &Limiter, subject: &str, count: u32, now: Duration) -> Result<Standing, Standing> {
    limiter.charge(subject, None, count, now).map(|(_, standing)| standing)
}

#[test]
fn a_burst_then_the_rate() {
    let limiter = Limiter::new("events", 10, 3).unwrap();
    let charge = |now| charge(&limiter, "a", 1, at(now)).map(|standing| standing.remaining);
    assert_eq!([charge(0).unwrap(), charge(0).unwrap(), charge(0).unwrap()], [2, 1, 0]);
    let refused = charge_err(&limiter, "a", 1, at(0));
    assert_eq!((refused.remaining, refused.retry_after, refused.reset), (0, Some(1), 1));
    assert!(charge(99).is_err());
    assert_eq!(charge(100).unwrap(), 0, "one more after a tenth of a second");
    assert!(charge(150).is_err(), "and what was refused has cost nothing:");
    assert_eq!(charge(200).unwrap(), 0);
    assert_eq!(charge(500).unwrap(), 2, "full again, and no fuller");
}

fn charge_err(limiter: &Limiter, subject: &str, count: u32, now: Duration) -> Standing {
    charge(limiter, subject, count, now).unwrap_err()
}

#[test]
fn each_has_a_bucket_of_its_own() {
    let limiter = Limiter::new("events", 1, 1).unwrap();
    charge(&limiter, "a", 1, START).unwrap();
    charge(&limiter, "b", 1, START).unwrap();
    assert!(charge(&limiter, "a", 1, START).is_err());
}

#[test]
fn what_the_headers_say() {
    let limiter = Limiter::new("events", 100, 250).unwrap();
    let standing = charge(&limiter, "a", 50, START).unwrap();
    assert_eq!(
        standing,
        Standing { policy: "events", quota: 250, window: 3, remaining: 200, reset: 1, retry_after: None }
    );
    let refused = charge_err(&limiter, "a", 250, START);
    assert_eq!((refused.remaining, refused.retry_after), (200, Some(1)));
}

#[test]
fn more_than_a_bucket_holds_needs_a_full_one_and_is_paid_off() {
    let limiter = Limiter::new("events", 10, 10).unwrap();
    assert_eq!(charge(&limiter, "a", 100, START).unwrap().remaining, 0);
    assert_eq!(charge_err(&limiter, "a", 1, START).retry_after, Some(10), "90 too many, and room for one");
    assert!(charge(&limiter, "a", 1, at(9000)).is_err());
    charge(&limiter, "a", 1, at(9200)).unwrap();
    charge(&limiter, "b", 1, START).unwrap();
    assert!(charge(&limiter, "b", 100, START).is_err(), "not a full one");
}

#[test]
fn no_rate_is_no_limit() {
    assert!(Limiter::new("events", 0, 10).is_none());
}

#[test]
fn idle_subjects_are_forgotten_and_their_number_is_bounded() {
    let known =
        |limiter: &Limiter| limiter.shards.iter().map(|shard| shard.lock().unwrap().full_at.len()).sum::<usize>();
    let limiter = Limiter::new("events", 1000, 1).unwrap();
    for number in 0..100_000 {
        // Each is idle again after a millisecond.
        charge(&limiter, &number.to_string(), 1, at(number)).unwrap();
    }
    assert!(known(&limiter) <= SHARDS * SWEEP, "{}", known(&limiter));

    let limiter = Limiter::new("events", 1, 1).unwrap();
    for number in 0..300_000 {
        charge(&limiter, &number.to_string(), 1, START).unwrap();
    }
    assert!(known(&limiter) <= SHARDS * MOST, "{}", known(&limiter));
}

#[test]
fn extremes() {
    let limiter = Limiter::new("events", u32::MAX, u32::MAX).map(|limiter| charge(&limiter, "a", u32::MAX, START));
    assert!(limiter.is_none_or(|charged| charged.is_ok()));
    let limiter = Limiter::new("events", 1, u32::MAX).unwrap();
    charge(&limiter, "a", u32::MAX, START).unwrap();
    assert!(charge(&limiter, "a", u32::MAX, START).is_err());
    assert!(charge(&limiter, "a", 0, START).is_ok(), "nothing costs nothing");
}

/// A bucket with a decimal point: what is in it, and when that was.
struct Bucket {
    rate: u32,
    burst: u32,
    level: u64,
    at: u64,
}

impl Bucket {
    /// In thousandths of an event: a millisecond brings `rate` of them.
    fn level(&self, now: u64) -> u64 {
        (self.level + (now - self.at) * u64::from(self.rate)).min(u64::from(self.burst) * 1000)
    }

    fn take(&mut self, count: u32, now: u64) -> bool {
        let level = self.level(now);
        let good = level >= u64::from(count.min(self.burst)) * 1000;
        // A debt is kept as time: the bucket stays empty for so much longer.
        if good {
            let cost = u64::from(count) * 1000;
            (self.level, self.at) =
                (level.saturating_sub(cost), now + cost.saturating_sub(level) / u64::from(self.rate));
        }
        good
    }
}

proptest! {
    /// One of a batch when it is let in, the rest when its body is there: as if it had all been
    /// taken then, and after a refusal it is as if it had never been.
    #[test]
    fn a_batch_is_one_charge(
        (rate, burst) in (prop::sample::select(&[1, 2, 5, 10, 100, 1000][..]), 1..200_u32),
        requests in prop::collection::vec((0..5000_u64, 0..3000_u64, 1..300_u32), 1..40),
    ) {
        let limiter = Limiter::new("events", rate, burst).unwrap();
        let (mut bucket, mut now) = (Bucket { rate, burst, level: u64::from(burst) * 1000, at: 0 }, 0);
        for (pause, body, count) in requests {
            now += pause;
            let Ok((taken, _)) = limiter.charge("a", None, 1, at(now)) else {
                prop_assert!(now < bucket.at || bucket.level(now) < 1000);
                continue;
            };
            now += body;
            let charged = limiter.charge("a", Some(taken), count, at(now));
            let good = now >= bucket.at && bucket.take(count, now);
            prop_assert_eq!(charged.is_ok(), good, "{} at {} ms", count, now);
            if let Err(refused) = charged {
                // Who waits as long as that, with a body as slow as this, is let in.
                now += refused.retry_after.unwrap() * 1000;
                let (taken, _) = limiter.charge("a", None, 1, at(now)).unwrap();
                now += body;
                limiter.charge("a", Some(taken), count, at(now)).unwrap();
                prop_assert!(bucket.take(count, now));
            }
        }
    }

    /// However requests of one subject overlap, it never gets more than its bucket and its rate.
    #[test]
    fn who_overlaps_gets_no_more(
        (rate, burst) in (prop::sample::select(&[1, 5, 100][..]), 1..20_u32),
        requests in prop::collection::vec((0..500_u64, 1..30_u32, any::<bool>()), 1..60),
    ) {
        let limiter = Limiter::new("events", rate, burst).unwrap();
        let (mut now, mut open, mut given) = (0, Vec::new(), Vec::new());
        for (pause, count, first) in requests {
            now += pause;
            if first {
                if let Ok((taken, _)) = limiter.charge("a", None, 1, at(now)) {
                    open.push((taken, given.len()));
                    given.push((now, 1));
                }
            } else if !open.is_empty() {
                let (taken, place) = open.remove(0);
                match limiter.charge("a", Some(taken), count.min(burst), at(now)) {
                    Ok(_) => given.push((now, u64::from(count.min(burst)) - 1)),
                    Err(_) => given[place].1 = 0,
                }
            }
        }
        for (nth, (from, _)) in given.iter().enumerate() {
            let mut sum = 0;
            for (to, count) in &given[nth..] {
                sum += count;
                let most = u64::from(burst) * 1000 + (to - from) * u64::from(rate);
                prop_assert!(sum * 1000 <= most, "{} from {} to {} ms: {:?}", sum, from, to, given);
            }
        }
    }
}

#[test]
fn a_batch_beyond_the_burst_finds_the_bucket_full_that_it_was_let_in_by() {
    let limiter = Limiter::new("events", 10, 10).unwrap();
    let (taken, _) = limiter.charge("a", None, 1, START).unwrap();
    let (_, standing) = limiter.charge("a", Some(taken), 100, at(1)).unwrap();
    assert_eq!((standing.remaining, standing.reset), (0, 10));
}
