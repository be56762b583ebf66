//! Part g.

use super::*;

/// The probe was answered so instead.
fn refused_probe(ads: &mut Ads, end: &mut AdsEnd, status: u16) {
    end.events.pop();
    end.records.pop();
    end.user_days.pop();
    end.campaigns[0].spent -= 10;
    end.campaigns[0].impressions -= 1;
    end.days[1].spent -= 10;
    end.stats[1] = stat(FRIDAY, [1, 0, 0], 10);
    count_users(end);
    let probe = ads.tries.iter_mut().find(|one| one.probe).unwrap();
    (probe.status, probe.code) = (status, Some("budget_exhausted".into()));
}

#[test]
fn a_campaign_with_room_that_takes_no_more() {
    for status in [409, 503, 0] {
        assert_eq!(parts(|ads, end| refused_probe(ads, end, status)), "g", "{status}");
    }
    let at_last = |ads: &mut Ads, _: &mut AdsEnd| {
        let probe = ads.tries.iter().find(|one| one.probe).unwrap();
        let first =
            Try { from: at(60), to: at(60), status: 503, code: Some("admission_unavailable".into()), ..probe.clone() };
        ads.tries.push(first);
    };
    assert_eq!(parts(at_last), "", "the last answer counts");
}

#[test]
fn a_campaign_without_room() {
    let spent = |ads: &mut Ads, end: &mut AdsEnd, room: i64| {
        refused_probe(ads, end, 409);
        ads.books[1].terms.total = 30 + room;
    };
    assert_eq!(parts(|ads, end| spent(ads, end, 9)), "");
    assert_eq!(parts(|ads, end| spent(ads, end, 10)), "g");
    let of_day = |ads: &mut Ads, end: &mut AdsEnd, room: i64| {
        refused_probe(ads, end, 409);
        ads.books[1].days[0].budget = Some(10 + room);
    };
    assert_eq!(parts(|ads, end| of_day(ads, end, 9)), "");
    assert_eq!(parts(|ads, end| of_day(ads, end, 10)), "g");
    let paused = |ads: &mut Ads, end: &mut AdsEnd| {
        refused_probe(ads, end, 409);
        ads.books[1].terms.status = "paused".into();
    };
    assert_eq!(parts(paused), "");
    let new_day = |ads: &mut Ads, end: &mut AdsEnd| {
        of_day(ads, end, 9);
        ads.books[1].days[0].day = THURSDAY.into();
    };
    assert_eq!(parts(new_day), "g", "a day of which nothing was spent");
    let no_budget = |ads: &mut Ads, end: &mut AdsEnd| {
        new_day(ads, end);
        ads.books[1].terms.daily = Some(9);
    };
    assert_eq!(parts(no_budget), "");
}
