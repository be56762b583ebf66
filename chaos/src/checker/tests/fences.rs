//! Promise 5: a read is never older than the fence.

use super::*;

#[test]
fn a_read_older_than_a_fence() {
    breaks([5], "older", |history, _| history.reads[1] = read(5, 1));
    assert_eq!(broken(|history, _| history.reads[2] = read(9, 2)), [5]);
    assert_eq!(broken(|history, _| history.reads[2] = read(9, 0)), [5], "a 404 for what is there");
    breaks([5], "across partitions", |history, end| {
        moved(history, end);
        history.reads[2] = read(9, 2);
    });
}

/// A read at 9 s returned version 2; 3 was fenced at 8 s, 2 at 4 s.
fn stale(history: &mut History) {
    history.reads[2] = read(9, 2);
}

#[test]
fn a_read_while_fences_are_put_off() {
    let excused = |history: &mut History, _: &mut End| {
        stale(history);
        history.redis_away.push(span(5, 8));
    };
    assert_eq!(broken(excused), NOTHING, "Redis was back less than a second ago");
    let (mut history, mut end) = whole();
    excused(&mut history, &mut end);
    let verdict = check(&history, &end);
    let counts = (verdict.reads.strict, verdict.reads.excused);
    assert_eq!(counts, (0, 2), "the one at 5 s and the one at 9 s; at 0 s nothing was fenced yet");
    assert_eq!(excused_until(&history), at(9));
    breaks([5], "past the cache: PostgreSQL had it", |history, end| {
        excused(history, end);
        history.reads[2].bypass = true;
    });
    let never_sent = |history: &mut History, _: &mut End| {
        stale(history);
        history.redis_away.push(span(5, 7));
    };
    assert_eq!(broken(never_sent), [5], "all fences were sent by 8 s");
    breaks([5], "before it was away: 2 was fenced at 4 s", |history, _| {
        history.reads[2] = read(9, 1);
        history.redis_away.push(span(5, 8));
    });
    breaks(NOTHING, "without postgres: the fence waited for PostgreSQL, too", |history, end| {
        never_sent(history, end);
        history.postgres_away.push(span(2, 6));
    });
    breaks([5], "postgres was back", |history, end| {
        never_sent(history, end);
        history.postgres_away.push(span(2, 4));
    });
}

/// Redis is away for a second from 5 s on; a read at 26 s still returns version 2, though 3 was fenced at 8 s.
fn lost(history: &mut History, workers_away: &[WorkerAway]) {
    history.redis_away.push(span(5, 6));
    history.workers_away.extend(workers_away);
    history.reads.push(read(26, 2));
}

#[test]
fn a_read_after_a_worker_ended_with_fences_put_off() {
    let at_6 = [ended(1, 6)];
    assert_eq!(broken(|history, _| lost(history, &at_6)), NOTHING, "what it was for may be in the cache for a TTL");
    let (mut history, _) = whole();
    lost(&mut history, &at_6);
    assert_eq!(excused_until(&history), at(28), "a body that was read up to 2 s earlier lives for 20 s");
    breaks([5], "gone: nothing lives longer than that", |history, _| {
        lost(history, &at_6);
        history.reads.push(read(29, 2));
    });
    breaks([5], "made up for: event 3 had a fence of its own", |history, _| {
        lost(history, &at_6);
        history.sent.get_mut("a").unwrap()[2].first.at = Duration::from_millis(7_500);
    });
    // Two commits that were read after recovery show that event 3 had not had its effect.
    breaks([5], "not put off: it was known to have its effect much later", |history, _| {
        lost(history, &at_6);
        history.reads.retain(|read| read.version < 3);
        history.commits = vec![commit(4.0, 21), commit(8.0, 21), commit(9.0, 21), commit(10.0, 31)];
    });
    breaks([5], "ended before: it had nothing put off", |history, _| lost(history, &[ended(1, 4)]));
    breaks([5], "ended after: it had sent all of it by 7 s", |history, _| lost(history, &[ended(1, 8)]));
}

#[test]
fn a_read_after_a_worker_stood_still_with_fences_put_off() {
    // The worker resumes at 9 s, commits, and sends its fences within a second.
    let goes_on = |history: &mut History, _: &mut End| {
        history.redis_away.push(span(5, 6));
        history.workers_away = vec![stood_still(1, 6, 9)];
        history.reads.retain(|read| read.version < 3);
        history.commits = vec![commit(4.0, 21), commit(8.0, 21), commit(9.1, 31)];
        history.reads.push(Read { from: Duration::from_millis(9_800), ..read(10, 2) });
    };
    assert_eq!(broken(goes_on), NOTHING, "it commits and sends side by side");
    let too_late = |history: &mut History, end: &mut End| {
        goes_on(history, end);
        history.reads.push(read(11, 2));
    };
    assert_eq!(broken(too_late), [5], "a fence that comes late is not lost");
    breaks(NOTHING, "ended then: but one that ends before it has sent them loses them", |history, end| {
        too_late(history, end);
        history.workers_away.push(ended(1, 9));
    });
    breaks([5], "another ended: and that other one had sent its own", |history, end| {
        too_late(history, end);
        history.workers_away.push(ended(2, 9));
    });
    let redis_away_again = |history: &mut History, end: &mut End| {
        goes_on(history, end);
        history.redis_away.push(span(9, 12));
        history.commits = vec![commit(4.0, 21), commit(5.5, 31)];
        history.reads.push(read(13, 2));
    };
    assert_eq!(broken(redis_away_again), NOTHING, "it can send them at 12 s only");
    breaks([5], "and back", |history, end| {
        redis_away_again(history, end);
        history.reads.push(read(14, 2));
    });
}

#[test]
fn redis_away_again_before_fences_are_sent() {
    // Event 3 is committed while Redis is away for the first time; version 2 is read after the second.
    let away = |spans: &'static [(u64, u64)], at_: u64| {
        move |history: &mut History, _: &mut End| {
            history.redis_away.extend(spans.iter().map(|(from, to)| span(*from, *to)));
            history.reads.truncate(1);
            history.commits = vec![commit(4.0, 21), commit(5.5, 31)];
            history.reads.push(read(at_, 2));
        }
    };
    assert_eq!(broken(away(&[(5, 6), (6, 8)], 9)), NOTHING, "they abut");
    assert_eq!(broken(away(&[(6, 8), (5, 6)], 9)), NOTHING, "however they are written down");
    assert_eq!(broken(away(&[(5, 6), (6, 8)], 10)), [5], "a second after the last one all is sent");
    assert_eq!(broken(away(&[(5, 6), (7, 8)], 9)), NOTHING, "there was no second in between");
    assert_eq!(broken(away(&[(5, 6), (8, 9)], 9)), [5], "all was sent by 7 s");
    assert_eq!(broken(away(&[(5, 7), (6, 8)], 9)), NOTHING, "they overlap");
    assert_eq!(broken(away(&[(5, 8), (6, 7)], 9)), NOTHING, "one lies in the other");
    assert_eq!(broken(away(&[(5, 8), (6, 7)], 10)), [5]);
    assert_eq!(broken(away(&[(6, 8)], 9)), [5], "the first time is what excuses it");
    let without_postgres = |spans, away_: Span| {
        move |history: &mut History, end: &mut End| {
            away(spans, 11)(history, end);
            history.postgres_away.push(away_);
        }
    };
    assert_eq!(broken(without_postgres(&[(5, 6), (6, 8)], span(7, 8))), NOTHING, "2 s more");
    assert_eq!(broken(without_postgres(&[(5, 6), (6, 8)], span(5, 5))), [5], "it was back the second time");
}

#[test]
fn an_outage_however_long_excuses_nothing_older_than_a_body_can_be() {
    // Version 3 was fenced at 8 s: a read of version 2 after 30 s cannot come from the cache, which no longer has it.
    let away = |from, to: u64, at_: u64| {
        move |history: &mut History, _: &mut End| {
            history.redis_away.extend((from..to).map(|second| span(second, second + 1)));
            history.reads.push(read(at_, 2));
        }
    };
    assert_eq!(broken(away(5, 40, 30)), NOTHING);
    assert_eq!(broken(away(5, 40, 31)), [5]);
    let seen = |history: &mut History, end: &mut End| {
        away(5, 40, 32)(history, end);
        history.commits.truncate(1);
    };
    assert_eq!(broken(seen), [5], "nor what somebody has seen by then");
}

#[test]
fn a_read_that_began_before_redis_was_away() {
    let before = |version| {
        move |history: &mut History, _: &mut End| {
            history.redis_away.push(span(5, 6));
            history.commits.insert(1, commit(4.9, 31));
            history.reads[1] = Read { from: Duration::from_millis(4_500), ..read(5, version) };
        }
    };
    assert_eq!(broken(before(1)), [5], "2 was fenced at 4 s");
    assert_eq!(broken(before(2)), NOTHING, "3 was not fenced yet when it began");
}

#[test]
fn a_read_that_went_back() {
    // Version 3 is fenced only at 8 s, but a reader that saw it earlier must not see an older one.
    let back = |history: &mut History, _: &mut End| history.reads.extend([read(6, 3), read(7, 2)]);
    assert_eq!(broken(back), [5]);
    breaks(NOTHING, "excused", |history, end| {
        back(history, end);
        history.redis_away.push(span(5, 6));
    });
    breaks([5], "seen before: it was seen before Redis was away", |history, _| {
        history.reads.extend([read(4, 3), read(7, 2)]);
        history.redis_away.push(span(5, 6));
    });
    breaks([5], "too late", |history, end| {
        back(history, end);
        history.redis_away.push(span(4, 5));
    });
    breaks(NOTHING, "past the cache: the cache has not heard of it", |history, _| {
        history.reads.extend([Read { bypass: true, ..read(6, 3) }, read(7, 2)]);
    });
    breaks(NOTHING, "together: they overlap", |history, _| {
        history.reads.push(Read { to: at(7), ..read(6, 3) });
        history.reads.push(read(7, 2));
    });
}

#[test]
fn a_cached_body_that_is_not_its_row() {
    assert_eq!(broken(|_, end| drop(end.cached.insert("a".into(), body(2)))), [5]);
    assert_eq!(broken(|_, end| drop(end.cached.insert("nobody".into(), body(1)))), [5]);
    assert_eq!(
        broken(|_, end| drop(end.cached.insert("nobody".into(), shared::cache::MISSING.into()))),
        NOTHING,
        "it says so"
    );
}
