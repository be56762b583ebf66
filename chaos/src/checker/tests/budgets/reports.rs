//! Part h.

use super::*;

#[test]
fn a_report_older_than_its_fence() {
    // Two events were committed at 2.5 s, four at 8 s.
    assert_eq!(parts(|ads, _| ads.reports[0] = report(3, 1, [1, 0, 0])), "h");
    assert_eq!(parts(|ads, _| ads.reports[1] = report(9, 3, [2, 1, 0])), "h");
    assert_eq!(parts(|ads, _| ads.reports[1] = report(7, 3, [2, 1, 0])), "", "before it");
}

#[test]
fn an_old_report_while_fences_are_put_off() {
    let old = |from, to| {
        found(move |history, _| {
            history.redis_away.push(span(from, to));
            history.ads.reports[1] = report(9, 3, [2, 1, 0]);
        })
    };
    assert_eq!(old(7, 9), []);
    let broken = old(5, 6);
    assert_eq!(broken.iter().map(Broken::of).collect::<Vec<_>>(), ["6h"]);
    assert_eq!(broken[0].device, "campaign 1");
}

#[test]
fn a_report_that_went_back() {
    let back = |ads: &mut Ads, _: &mut AdsEnd| {
        ads.reports.insert(1, report(5, 4, [2, 1, 1]));
        ads.reports.insert(2, report(6, 3, [2, 1, 0]));
    };
    assert_eq!(parts(back), "h");
}

#[test]
fn a_report_of_what_never_was() {
    let more = |ads: &mut Ads, _: &mut AdsEnd| ads.reports.push(report(70, 9, [4, 2, 1]));
    assert_eq!(parts(more), "h");
    let another = |ads: &mut Ads, _: &mut AdsEnd| ads.reports.push(report(9, 4, [3, 1, 0]));
    assert_eq!(parts(another), "h", "version 4 is another one");
}

#[test]
fn a_report_whose_money_does_not_add_up() {
    assert_eq!(parts(|ads, _| ads.reports[1].remaining = 81), "a", "of 101");
    assert_eq!(parts(|ads, _| ads.reports[1].remaining = 100), "", "of 120, to which it is being raised");
    assert_eq!(parts(|ads, _| (ads.reports[1].spend, ads.reports[1].remaining) = (110, -10)), "a");
}

#[test]
fn a_stale_report_that_was_left_in_the_cache() {
    assert_eq!(parts(|_, end| end.cached[0].body = r#"{"version":1}"#.into()), "h");
}
