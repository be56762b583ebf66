//! Part d.

use super::*;

/// An impression of "v" on Friday that is answered 202.
fn more(ads: &mut Ads, end: &mut AdsEnd) {
    take(ads, end, accepted("e7", "v", AdKind::Impression, 35));
}

#[test]
fn an_accepted_event_that_is_not_there() {
    assert_eq!(parts(|ads, _| ads.tries.push(accepted("e7", "v", AdKind::Impression, 35))), "d");
    assert_eq!(parts(|ads, _| ads.tries.push(tried("e7", "v", AdKind::Impression, 35, 0))), "", "nobody was told so");
    let unapplied = |ads: &mut Ads, end: &mut AdsEnd| {
        let one = accepted("e7", "v", AdKind::Impression, 35);
        end.records.push(of_log(&event(&one, 9)));
        ads.tries.push(one);
    };
    assert_eq!(parts(unapplied), "d", "the log has it, and the table does not");
}

#[test]
fn an_event_without_an_answer_may_be_there() {
    let lost = |ads: &mut Ads, end: &mut AdsEnd| {
        more(ads, end);
        ads.tries.last_mut().unwrap().status = 0;
    };
    assert_eq!(parts(lost), "");
    let void = |ads: &mut Ads, end: &mut AdsEnd| {
        lost(ads, end);
        make_void(end, 6, "no_room");
    };
    assert_eq!(parts(void), "", "and need not count");
}

#[test]
fn an_accepted_event_that_does_not_count() {
    let void = |ads: &mut Ads, end: &mut AdsEnd| {
        more(ads, end);
        make_void(end, 6, "no_room");
    };
    assert_eq!(parts(void), "d");
    let frozen = |api, from, to| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            void(ads, end);
            ads.frozen.push(FrozenApi { api, span: span(from, to) });
        }
    };
    assert_eq!(parts(frozen(0, 33, 35)), "", "its API was frozen beyond its lease");
    assert_eq!(parts(frozen(1, 33, 35)), "d", "another API was");
    assert_eq!(parts(frozen(0, 34, 35)), "d", "for too short a time");
    assert_eq!(parts(frozen(0, 37, 40)), "d", "later");
    let capped = |ads: &mut Ads, end: &mut AdsEnd| {
        void(ads, end);
        end.events[6].reason = Some("capped".into());
    };
    assert_eq!(parts(capped), "d");
    let evicted = |to| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            capped(ads, end);
            ads.evicted.push(span(30, to));
        }
    };
    assert_eq!(parts(evicted(33)), "", "keys were evicted less than two seconds ago");
    assert_eq!(parts(evicted(32)), "d");
    let allowed = |reason: &'static str| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            void(ads, end);
            end.events[6].reason = Some(reason.into());
            end.changes.iter_mut().for_each(|change| change.terms.allows = true);
        }
    };
    assert_eq!(parts(allowed("capped")), "");
    assert_eq!(parts(allowed("no_room")), "d", "it allows no more than the cap");
}

#[test]
fn an_event_that_a_rule_refused() {
    let invalid = |filters| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            more(ads, end);
            make_void(end, 6, "duplicate_click");
            end.events[6].outcome = Outcome::Invalid;
            end.campaigns[0].void = 0;
            end.stats[1].void = 0;
            end.invalid.push(InvalidRow { campaign: 1, reason: "duplicate_click".into(), events: 1 });
            end.changes.iter_mut().for_each(|change| change.terms.filters = filters);
        }
    };
    assert_eq!(parts(invalid(true)), "");
    assert_eq!(parts(invalid(false)), "d", "the campaign has no rule");
}

#[test]
fn an_event_that_became_another() {
    let other = |_: &mut Ads, end: &mut AdsEnd| {
        end.events[4].user = "w".into();
        end.user_days[1].user = "w".into();
    };
    assert_eq!(parts(other), "d");
    let nobody = |ads: &mut Ads, _: &mut AdsEnd| ads.tries.retain(|one| one.id != "e3");
    assert_eq!(parts(nobody), "d", "nobody sent it");
    assert_eq!(parts(|_, end| drop(end.records.remove(4))), "d", "it never was in the log");
    let elsewhere = |_: &mut Ads, end: &mut AdsEnd| end.events.push(end.events[4].clone());
    assert!(parts(elsewhere).contains('d'), "it is there twice");
    assert_eq!(parts(|ads, _| ads.tries[4].cost = Some(9)), "d", "the answer had another cost");
    assert_eq!(parts(|ads, _| ads.tries[4].day = Some(THURSDAY.into())), "d", "or another day");
}

#[test]
fn an_event_that_was_refused_and_is_there() {
    let refused = |status, code: &'static str| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            more(ads, end);
            let one = ads.tries.last_mut().unwrap();
            (one.status, one.code) = (status, Some(code.into()));
        }
    };
    assert_eq!(parts(refused(409, "budget_exhausted")), "d");
    assert_eq!(parts(refused(503, "admission_unavailable")), "d");
    assert_eq!(parts(refused(503, "outcome_unknown")), "", "nobody was told so");
    let once = |ads: &mut Ads, end: &mut AdsEnd| {
        refused(409, "budget_exhausted")(ads, end);
        ads.tries.push(tried("e7", "v", AdKind::Impression, 36, 0));
    };
    assert_eq!(parts(once), "", "another try may have been taken");
}

#[test]
fn a_dead_letter() {
    let letter = |id: &str| AdLetter {
        key: "1:v".into(),
        id: id.into(),
        reason: "failed".into(),
        error: "SQLSTATE 23514".into(),
    };
    let dead = |ads: &mut Ads, end: &mut AdsEnd| {
        ads.tries.push(accepted("e7", "v", AdKind::Impression, 35));
        end.letters.push(letter("e7"));
    };
    assert_eq!(parts(dead), "d", "no room is an outcome, never an error");
    assert_eq!(parts(|_, end| end.letters.push(letter("e3"))), "d", "beside a row");
    let (mut history, mut end) = whole();
    dead(&mut history.ads, &mut end.ads);
    let what = &check(&history, &end).broken[0].what;
    assert_eq!(what, "event \"e7\" of 1:v became a dead letter (failed: SQLSTATE 23514)");
}

#[test]
fn a_partition_of_ad_events_that_stands_still() {
    assert_eq!(parts(|_, end| end.left.extend([(0, (1, 2))])), "d");
}
