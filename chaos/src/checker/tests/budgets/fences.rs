//! Part h: changes of terms as fences, and versions.

use super::*;
use crate::checker::tests::placements::whole_placements;

/// A report with all events of that time, after the budget was raised from 100 to 120 at 10 s, or as if it was not.
fn after(at_: u64, total: i64) -> Report {
    let report = report(at_, 5, [2, 1, 1]);
    Report { remaining: total - report.spend, ..report }
}

/// What is found with these reports beside.
fn with(reports: Vec<Report>, change: impl FnOnce(&mut History)) -> Vec<String> {
    let broken = found(|history, _| {
        history.ads.reports.extend(reports);
        change(history);
    });
    broken.iter().map(Broken::of).collect()
}

#[test]
fn a_report_older_than_a_change_of_terms() {
    assert_eq!(with(vec![after(11, 120)], |_| ()), [""; 0]);
    assert_eq!(with(vec![after(11, 100)], |_| ()), ["6h"]);
    let early = Report { from: at(9), ..after(11, 100) };
    assert_eq!(with(vec![early], |_| ()), [""; 0], "it began before the answer");
    let refused = |history: &mut History| {
        history.ads.patches[0] = Patch { status: 503, revision: None, ..history.ads.patches[0].clone() };
    };
    assert_eq!(with(vec![after(11, 100)], refused), [""; 0], "nobody said that it was made");
}

#[test]
fn a_report_with_the_total_of_a_later_change() {
    let later = |total| {
        found(move |history, end| {
            let (change, patch) = (end.ads.changes[1].clone(), history.ads.patches[0].clone());
            let terms = Terms { total: 150, ..change.terms.clone() };
            end.ads.changes.push(Change { revision: 3, at: clock(20), terms: terms.clone(), ..change });
            end.ads.campaigns[0].terms = terms;
            (history.placements, end.placements) = whole_placements(&end.ads);
            let (from, to) = (at(20), at(22));
            let patch = Patch { from, to, total: Some(150), revision: Some(3), ..patch };
            history.ads.patches.push(patch);
            history.ads.reports.push(after(21, total));
        })
    };
    for total in [120, 150] {
        assert_eq!(later(total), [], "while it is made, it may be there or not");
    }
    assert_eq!(later(100).iter().map(Broken::of).collect::<Vec<_>>(), ["6h"]);
}

#[test]
fn a_change_whose_fence_may_have_been_put_off() {
    // At 10 s its API did without Redis: a read then says so. 22 s later, no body is so old.
    let bypassed = |at_: u64| {
        move |history: &mut History| {
            history.ads.reports.push(Report { bypass: true, ..report(at_, 4, [2, 1, 1]) });
        }
    };
    assert_eq!(with(vec![after(11, 100)], bypassed(9)), [""; 0]);
    assert_eq!(with(vec![after(11, 100)], bypassed(8)), ["6h"], "it had Redis again");
    assert_eq!(with(vec![after(31, 100)], bypassed(9)), [""; 0]);
    assert_eq!(with(vec![after(33, 100)], bypassed(9)), ["6h"]);
    let of_a_device = |history: &mut History| history.reads.push(Read { bypass: true, ..read(9, 3) });
    assert_eq!(with(vec![after(11, 100)], of_a_device), [""; 0]);
    let frozen = |history: &mut History| history.ads.frozen.push(FrozenApi { api: 0, span: span(9, 12) });
    assert_eq!(with(vec![after(13, 100)], frozen), [""; 0]);
    // It is sent within 1 s.
    let redis_away = |to| move |history: &mut History| history.redis_away.push(span(4, to));
    assert_eq!(with(vec![after(20, 100)], redis_away(8)), [""; 0]);
    assert_eq!(with(vec![after(20, 100)], redis_away(7)), ["6h"]);
}

#[test]
fn a_bypassed_report_is_never_older_than_a_change() {
    let bypassed = |total| Report { bypass: true, ..after(50, total) };
    assert_eq!(with(vec![bypassed(120)], |_| ()), [""; 0]);
    assert_eq!(with(vec![bypassed(100)], |history| history.redis_away.push(span(49, 51))), ["6h"]);
}

#[test]
fn a_version_that_went_back() {
    // The same events: only the terms changed in between.
    let reports = |to| {
        let [newer, older] = [(12, 7), (13, 6)].map(|(at_, version)| Report { version, ..after(at_, 120) });
        vec![Report { to, ..newer }, older]
    };
    assert_eq!(with(reports(at(12)), |_| ()), ["6h"]);
    assert_eq!(with(reports(at(14)), |_| ()), [""; 0], "both at once");
    assert_eq!(with(reports(at(12)), |history| history.redis_away.push(span(11, 14))), [""; 0]);
}
