//! The history of a run of seed 9001, reduced to one device. Redis was frozen until 112.416 s and cut off from
//! the workers from then until 116.335 s. The fence of version 3 was deferred at 112.1 s and could not be sent
//! in between, so a read at 115.639 s returned version 2. That is allowed, but the checker once judged the
//! two outages separately and reported a broken promise.
//!
//! The device's first 468 events are left out: versions count from there.

use super::*;
use crate::history::file;

fn seed_9001() -> (History, End) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/checker/tests/seed-9001.jsonl");
    file::load(path.as_ref()).unwrap()
}

fn verdict(change: impl FnOnce(&mut History)) -> Verdict {
    let (mut history, end) = seed_9001();
    change(&mut history);
    check(&history, &end)
}

fn stale_read(history: &History) -> Read {
    let stale = history.reads.iter().filter(|read| read.version == 2 && !read.bypass);
    stale.max_by_key(|read| read.from).unwrap().clone()
}

fn second(at: f64) -> Duration {
    Duration::from_secs_f64(at)
}

#[test]
fn redis_away_twice_without_a_pause_is_one_outage() {
    let (history, _) = seed_9001();
    assert!((115.6..115.7).contains(&stale_read(&history).from.as_secs_f64()));
    let Verdict { broken, reads: Judged { strict, excused }, .. } = verdict(|_| {});
    assert_eq!(broken, []);
    assert_eq!((strict, excused), (10, 36));
}

#[test]
fn and_nothing_more_is_excused_than_that() {
    let promises = |verdict: Verdict| verdict.broken.iter().map(|broken| broken.promise).collect::<Vec<_>>();
    let frozen = |history: &mut History, to: f64| {
        let span = history.redis_away.iter_mut().find(|span| span.from > second(106.0)).unwrap();
        assert!(span.to > second(112.4) && span.to < second(112.5));
        span.to = second(to);
    };
    assert_eq!(promises(verdict(|history| frozen(history, 109.5))), NOTHING, "2.9 s are too little to send them");
    let sent = promises(verdict(|history| frozen(history, 109.4)));
    assert_eq!(sent, [5; 25], "in 3 s they were sent");
    let once = |history: &mut History| history.redis_away.retain(|span| span.from < second(106.0));
    assert!(!promises(verdict(once)).is_empty());
    let later = |from: f64| {
        move |history: &mut History| {
            let stale = stale_read(history);
            history.reads.push(Read { from: second(from), to: second(from), ..stale });
        }
    };
    assert_eq!(promises(verdict(later(119.3))), NOTHING, "3 s after Redis was back at 116.335 s");
    assert_eq!(promises(verdict(later(119.4))), [5, 5], "then all is sent, and others have seen more");
    let seen = |history: &mut History| {
        let newer = history.reads.iter().find(|read| read.version == 17).unwrap().clone();
        history.reads.push(Read { from: second(106.0), to: second(106.4), bypass: false, ..newer });
    };
    assert!(!promises(verdict(seen)).is_empty(), "what was seen before Redis was away");
}
