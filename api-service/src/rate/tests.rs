//! The bucket, without sleeping.

use super::*;

const START: Duration = Duration::from_secs(1000);

fn at(milliseconds: u64) -> Duration {
    START + Duration::from_millis(milliseconds)
}

#[test]
fn a_burst_then_the_rate() {
    let limiter = Limiter::new("events", 10, 3).unwrap();
    let charge = |now| limiter.charge("a", 1, at(now)).map(|standing| standing.remaining);
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
    limiter.charge(subject, count, now).unwrap_err()
}

#[test]
fn each_has_a_bucket_of_its_own() {
    let limiter = Limiter::new("events", 1, 1).unwrap();
    limiter.charge("a", 1, START).unwrap();
    limiter.charge("b", 1, START).unwrap();
    assert!(limiter.charge("a", 1, START).is_err());
}

#[test]
fn what_the_headers_say() {
    let limiter = Limiter::new("events", 100, 250).unwrap();
    let standing = limiter.charge("a", 50, START).unwrap();
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
    assert_eq!(limiter.charge("a", 100, START).unwrap().remaining, 0);
    assert_eq!(charge_err(&limiter, "a", 1, START).retry_after, Some(10), "90 too many, and room for one");
    assert!(limiter.charge("a", 1, at(9000)).is_err());
    limiter.charge("a", 1, at(9200)).unwrap();
    limiter.charge("b", 1, START).unwrap();
    assert!(limiter.charge("b", 100, START).is_err(), "not a full one");
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
        limiter.charge(&number.to_string(), 1, at(number)).unwrap();
    }
    assert!(known(&limiter) <= SHARDS * SWEEP, "{}", known(&limiter));

    let limiter = Limiter::new("events", 1, 1).unwrap();
    for number in 0..300_000 {
        limiter.charge(&number.to_string(), 1, START).unwrap();
    }
    assert!(known(&limiter) <= SHARDS * MOST, "{}", known(&limiter));
}

#[test]
fn extremes() {
    let limiter = Limiter::new("events", u32::MAX, u32::MAX).map(|limiter| limiter.charge("a", u32::MAX, START));
    assert!(limiter.is_none_or(|charged| charged.is_ok()));
    let limiter = Limiter::new("events", 1, u32::MAX).unwrap();
    limiter.charge("a", u32::MAX, START).unwrap();
    assert!(limiter.charge("a", u32::MAX, START).is_err());
    assert!(limiter.charge("a", 0, START).is_ok(), "nothing costs nothing");
}
