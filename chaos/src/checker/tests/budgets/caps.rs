//! Parts c, e and f.

use super::*;
use crate::history::Span;

/// A third impression of "u" on Thursday.
fn third(ads: &mut Ads, end: &mut AdsEnd) {
    take(ads, end, accepted("e7", "u", AdKind::Impression, 20));
}

#[test]
fn more_impressions_than_the_cap_allows() {
    assert_eq!(parts(third), "ce");
    let raised = |ads: &mut Ads, end: &mut AdsEnd| {
        third(ads, end);
        end.changes[1].terms.cap = Some(3);
    };
    assert_eq!(parts(raised), "", "the cap was raised on Thursday");
    let none = |ads: &mut Ads, end: &mut AdsEnd| {
        third(ads, end);
        end.changes[1].terms.cap = None;
    };
    assert_eq!(parts(none), "", "there was no cap for a while");
    let next_day = |ads: &mut Ads, end: &mut AdsEnd| {
        raised(ads, end);
        end.changes[1].day = FRIDAY.into();
    };
    assert_eq!(parts(next_day), "ce", "it was raised on Friday");
    let lowered = |ads: &mut Ads, end: &mut AdsEnd| {
        third(ads, end);
        end.changes[0].terms.cap = Some(3);
        // That one was refused by the lower cap.
        ads.tries.retain(|one| !one.is_capped());
    };
    assert_eq!(parts(lowered), "", "it was lowered on Thursday");
}

#[test]
fn more_answers_202_than_the_cap_allows_although_the_worker_counted_none_too_many() {
    let void = |ads: &mut Ads, end: &mut AdsEnd| {
        third(ads, end);
        make_void(end, 6, "capped");
    };
    assert_eq!(parts(void), "de", "and what was accepted does not count");
    let allowed = |ads: &mut Ads, end: &mut AdsEnd| {
        void(ads, end);
        end.changes.iter_mut().for_each(|change| change.terms.allows = true);
    };
    assert_eq!(parts(allowed), "", "the campaign allows it");
    let evicted = |to| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            third(ads, end);
            ads.evicted.push(Span { from: at(15), to: at(to) });
        }
    };
    assert_eq!(parts(evicted(18)), "c", "keys were evicted less than two seconds ago");
    assert_eq!(parts(evicted(17)), "ce");
    let in_a_batch = |ads: &mut Ads, end: &mut AdsEnd| {
        void(ads, end);
        ads.tries.iter_mut().for_each(|one| one.day = None);
    };
    assert_eq!(parts(in_a_batch), "de", "the days are known by their times");
}

#[test]
fn an_id_that_is_sent_again_is_no_other_one() {
    let again = |ads: &mut Ads, _: &mut AdsEnd| ads.tries.push(accepted("e2", "u", AdKind::Impression, 9));
    assert_eq!(parts(again), "");
    let next_day = |ads: &mut Ads, _: &mut AdsEnd| ads.tries.push(accepted("e2", "u", AdKind::Impression, 40));
    assert_eq!(parts(next_day), "");
}

#[test]
fn a_429_too_early() {
    assert_eq!(parts(|ads, _| ads.tries.push(capped("e7", "w", 10))), "", "behind one without an answer, and one 503");
    assert_eq!(parts(|ads, _| ads.tries.push(capped("e7", "x", 10))), "f", "behind nothing");
    let behind = |codes: [(u64, u16, &'static str); 2]| {
        move |ads: &mut Ads, _: &mut AdsEnd| {
            for (n, (at, status, code)) in codes.into_iter().enumerate() {
                ads.tries.push(refused(&format!("y{n}"), "y", at, status, code));
            }
            ads.tries.push(capped("y9", "y", 10));
        }
    };
    let unavailable = "admission_unavailable";
    assert_eq!(parts(behind([(8, 503, unavailable), (9, 503, unavailable)])), "");
    assert_eq!(parts(behind([(8, 503, unavailable), (9, 409, "budget_exhausted")])), "f", "a 409 takes no place");
    assert_eq!(parts(behind([(8, 503, unavailable), (9, 429, "frequency_capped")])), "f", "nor does a 429");
    assert_eq!(parts(behind([(8, 503, unavailable), (11, 503, unavailable)])), "f", "one that came later");
    let of_thursday = |ads: &mut Ads, _: &mut AdsEnd| {
        let on_friday = Try { retry_after: Some(86_400 - 5), ..refused("e8", "u", 35, 429, "frequency_capped") };
        ads.tries.push(on_friday);
    };
    assert_eq!(parts(of_thursday), "f", "those of Thursday do not count on Friday");
    let itself = |ads: &mut Ads, _: &mut AdsEnd| {
        ads.tries.extend([refused("z1", "z", 8, 503, "queue_full"), refused("z2", "z", 8, 503, "queue_full")]);
        ads.tries.push(capped("z2", "z", 10));
    };
    assert_eq!(parts(itself), "f", "it is not behind itself");
}

#[test]
fn a_429_by_a_cap_that_was_not_there() {
    let uncapped = |ads: &mut Ads, end: &mut AdsEnd| {
        end.changes.iter_mut().for_each(|change| change.terms.cap = None);
        ads.tries.retain(|one| !one.is_capped());
        ads.tries.push(capped("e4", "u", 3));
    };
    assert_eq!(parts(uncapped), "f");
    let click = |ads: &mut Ads, _: &mut AdsEnd| {
        ads.tries.push(Try { kind: AdKind::Click, ..capped("c9", "u", 11) });
    };
    assert_eq!(parts(click), "f", "only impressions are capped");
    let later = |at_: i64| {
        move |_: &mut Ads, end: &mut AdsEnd| {
            end.changes[0].terms.cap = Some(3);
            end.changes[1].at = clock(at_);
        }
    };
    assert_eq!(parts(later(2)), "", "it was lowered before");
    assert_eq!(parts(later(4)), "f", "it was three at that time");
}

#[test]
fn an_accepted_impression_that_is_refused_when_it_is_sent_again() {
    let again = |ads: &mut Ads, _: &mut AdsEnd| ads.tries.push(capped("e1", "u", 10));
    assert_eq!(parts(again), "f");
    let evicted = |ads: &mut Ads, end: &mut AdsEnd| {
        again(ads, end);
        ads.tries.push(refused("e8", "u", 5, 503, "queue_full"));
        ads.evicted.push(Span { from: at(9), to: at(9) });
    };
    assert_eq!(parts(evicted), "");
    let accepted_meanwhile = |ads: &mut Ads, end: &mut AdsEnd| {
        evicted(ads, end);
        ads.evicted = vec![Span { from: at(1), to: at(1) }];
    };
    assert_eq!(parts(accepted_meanwhile), "");
    let before = |ads: &mut Ads, _: &mut AdsEnd| {
        ads.tries.retain(|one| one.id != "e1" || one.from < at(5));
        ads.tries.push(Try { from: Duration::from_millis(1_050), ..capped("e1", "u", 1) });
        ads.tries.extend([tried("e8", "u", AdKind::Impression, 1, 0), tried("e9", "u", AdKind::Impression, 1, 0)]);
    };
    assert_eq!(parts(before), "", "it was sent before the first answer");
}

#[test]
fn a_429_that_says_wrongly_when_the_day_ends() {
    let until = |after| {
        move |ads: &mut Ads, _: &mut AdsEnd| {
            let capped = ads.tries.iter_mut().find(|one| one.is_capped()).unwrap();
            capped.retry_after = after;
        }
    };
    assert_eq!(parts(until(Some(25))), "");
    assert_eq!(parts(until(Some(22))), "f");
    assert_eq!(parts(until(Some(30))), "f");
    assert_eq!(parts(until(None)), "f");
    let batched = |ads: &mut Ads, end: &mut AdsEnd| {
        until(None)(ads, end);
        ads.tries.iter_mut().for_each(|one| one.batched = true);
    };
    assert_eq!(parts(batched), "");
}

#[test]
fn counts_of_a_user_that_are_not_those_of_the_events() {
    assert_eq!(parts(|_, end| end.user_days[0].impressions = 1), "c", "it would admit one more");
    assert_eq!(parts(|_, end| end.user_days[0].clicks = 2), "c");
    assert_eq!(parts(|_, end| drop(end.user_days.remove(1))), "c");
    assert_eq!(parts(|_, end| end.user_days.push(user_day("w", FRIDAY, [1, 0, 0]))), "c");
}
