//! Part a: counts.

use super::*;

#[test]
fn users_who_are_not_those_of_the_events() {
    assert_eq!(parts(|_, end| end.campaigns[0].users = Some(4)), "a", "u, v and the probe's");
    // A user who comes again on the next day is one of the campaign's users, and one of each day's.
    let again = |ads: &mut Ads, end: &mut AdsEnd| {
        take(ads, end, accepted("e9", "u", AdKind::Impression, 32));
        assert_eq!((end.campaigns[0].users, end.stats[1].users), (Some(3), Some(3)));
    };
    assert_eq!(parts(again), "");
    let twice = |ads: &mut Ads, end: &mut AdsEnd| {
        again(ads, end);
        end.campaigns[0].users = Some(4);
    };
    assert_eq!(parts(twice), "a");
    let old = |_: &mut Ads, end: &mut AdsEnd| {
        end.campaigns[0].users = None;
        end.stats.iter_mut().for_each(|stat| stat.users = None);
    };
    assert_eq!(parts(old), "", "an older history does not have them");
}

#[test]
fn users_of_a_day_who_are_not_those_of_its_events() {
    assert_eq!(parts(|_, end| end.stats[0].users = Some(2)), "a");
    let swapped = |_: &mut Ads, end: &mut AdsEnd| (end.stats[0].users, end.stats[1].users) = (Some(2), Some(1));
    assert_eq!(parts(swapped), "a", "in the wrong day");
    // In a later hour of the day, too.
    let hour = |users| {
        move |_: &mut Ads, end: &mut AdsEnd| {
            end.stats.push(StatRow { hour: 1, users: Some(users), ..stat(THURSDAY, [0, 0, 0], 0) });
        }
    };
    assert_eq!(parts(hour(0)), "");
    assert_eq!(parts(hour(1)), "a", "again in each hour");
}

#[test]
fn events_in_the_statistics_of_another_day() {
    let click = |_: &mut Ads, end: &mut AdsEnd| (end.stats[0].clicks, end.stats[1].clicks) = (0, 1);
    assert_eq!(parts(click), "a", "the sums are right");
    let void = |_: &mut Ads, end: &mut AdsEnd| (end.stats[0].void, end.stats[1].void) = (1, -1);
    assert_eq!(parts(void), "a");
    let nowhere = |_: &mut Ads, end: &mut AdsEnd| drop(end.stats.remove(1));
    assert_eq!(parts(nowhere), "a");
}

#[test]
fn invalid_events_that_are_not_counted_by_their_reasons() {
    let row = |reason: &str, events| InvalidRow { campaign: 1, reason: reason.into(), events };
    let refused = |counts: Vec<InvalidRow>| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            end.changes.iter_mut().for_each(|change| change.terms.filters = true);
            end.campaigns[0].terms.filters = true;
            let terms = end.campaigns[0].terms.clone();
            ads.books.iter_mut().for_each(|books| books.terms = terms.clone());
            // The click, which costs nothing.
            let click = end.events.iter_mut().find(|event| event.kind == AdKind::Click).unwrap();
            (click.outcome, click.reason) = (Outcome::Invalid, Some("duplicate_click".into()));
            end.campaigns[0].clicks = 0;
            end.stats[0].clicks = 0;
            end.user_days[0].clicks = 0;
            ads.reports.clear();
            end.invalid = counts;
        }
    };
    assert_eq!(parts(refused(vec![row("duplicate_click", 1)])), "");
    assert_eq!(parts(refused(vec![row("duplicate_click", 2)])), "a");
    assert_eq!(parts(refused(vec![row("no_impression", 1)])), "a", "for another reason");
    assert_eq!(parts(refused(vec![])), "a");
    assert_eq!(parts(|_, end| end.invalid.push(row("user_rate", 1))), "a", "there is no such event");
}
