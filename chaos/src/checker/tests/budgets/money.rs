//! Parts a and b.

use super::*;

#[test]
fn money_that_does_not_add_up() {
    assert_eq!(parts(|_, end| end.campaigns[0].spent = 41), "a");
    assert_eq!(parts(|_, end| end.days[0].spent = 19), "a");
    assert_eq!(parts(|_, end| end.stats[0].spend = 19), "a");
    assert_eq!(parts(|_, end| drop(end.days.pop())), "a", "a day that nobody wrote down");
    let booked_out = |_: &mut Ads, end: &mut AdsEnd| {
        end.events.remove(0);
        end.records.remove(0);
        end.campaigns[0].booked_out = 10;
    };
    assert_eq!(parts(booked_out), "d", "what is booked out adds up; but nothing expires or is erased in a run");
}

#[test]
fn counts_that_are_not_those_of_the_events() {
    assert_eq!(parts(|_, end| end.campaigns[0].impressions = 5), "a");
    assert_eq!(parts(|_, end| end.stats[1].impressions = 1), "a");
    assert_eq!(parts(|_, end| end.campaigns[0].clicks = 0), "a");
    assert_eq!(parts(|_, end| end.stats[0].conversions = 2), "a");
    assert_eq!(parts(|_, end| end.campaigns[0].value = 8), "a");
    assert_eq!(parts(|_, end| end.campaigns[0].void = 1), "a");
}

#[test]
fn a_budget_that_was_overspent() {
    let total = |_: &mut Ads, end: &mut AdsEnd| {
        end.campaigns[0].terms.total = 39;
        end.changes[1].terms.total = 39;
    };
    assert!(parts(total).contains('a'));
    let daily = |_: &mut Ads, end: &mut AdsEnd| end.days[1].budget = Some(19);
    assert_eq!(parts(daily), "a");
    let forgotten = |_: &mut Ads, end: &mut AdsEnd| {
        end.days[1].budget = None;
        end.changes.iter_mut().for_each(|change| change.terms.daily = Some(19));
        end.campaigns[0].terms.daily = Some(19);
    };
    assert_eq!(parts(forgotten), "a", "the day's row does not have it, and the terms do");
    let raised = |ads: &mut Ads, end: &mut AdsEnd| {
        forgotten(ads, end);
        end.changes[1].terms.daily = Some(20);
    };
    assert_eq!(parts(raised), "", "it was raised on Thursday");
}

#[test]
fn a_campaign_with_other_terms_than_its_advertiser_asked_for() {
    let asked = |change: fn(&mut Terms)| parts_as_asked(|ads, _| change(&mut ads.created[0].terms));
    assert_eq!(asked(|_| {}), "");
    assert_eq!(asked(|terms| terms.total = 10), "a");
    assert_eq!(asked(|terms| terms.daily = Some(1)), "a");
    assert_eq!(asked(|terms| terms.price = 1), "a");
    assert_eq!(asked(|terms| terms.cap = Some(1)), "a");
    assert_eq!(asked(|terms| terms.allows = true), "a");
    assert_eq!(asked(|terms| terms.status = "draft".into()), "", "it may have been activated since");
}

#[test]
fn money_at_each_change() {
    assert_eq!(parts(|_, end| end.changes[0].terms.total = 19), "a", "20 were spent before it was raised");
    assert_eq!(parts(|_, end| end.changes[1].reserved = 101), "b");
    assert_eq!(parts(|_, end| end.changes[0].spent = 21), "a", "spending never shrinks");
}

#[test]
fn a_wrong_price() {
    let billed = |cost: i64| {
        move |_: &mut Ads, end: &mut AdsEnd| {
            let more = cost - end.events[1].cost;
            (end.events[1].cost, end.records[1].cost) = (cost, cost);
            end.campaigns[0].spent += more;
            end.days[0].spent += more;
            end.stats[0].spend += more;
        }
    };
    assert_eq!(parts(billed(10)), "");
    assert_eq!(parts(billed(9)), "ad", "and it is not what the answer said");
    let patched = |ads: &mut Ads, end: &mut AdsEnd| {
        billed(9)(ads, end);
        ads.tries.iter_mut().filter(|one| one.id == "e2").for_each(|one| one.cost = Some(9));
        end.changes[1].terms.price = 9_000;
    };
    assert_eq!(parts(patched), "", "the price was changed");
    assert_eq!(parts(|_, end| end.records[0].cost = 9), "a", "it was not bought at that price");
    assert_eq!(parts(|_, end| end.records[0].lease = None), "a", "it was not bought");
    let void = |_: &mut Ads, end: &mut AdsEnd| end.events[2].outcome = Outcome::Invalid;
    assert!(!parts(void).is_empty());
    let free = |ads: &mut Ads, end: &mut AdsEnd| {
        end.changes[1].terms = Terms { pricing: Pricing::Cpa, price: 10, ..terms() };
        end.changes.remove(0);
        end.changes[0].revision = 1;
        ads.patches.clear();
    };
    assert_eq!(parts(free), "a", "an impression has no price then");
}

#[test]
fn a_conversion_without_room_is_free_only_where_it_is_recorded() {
    let cpa = |records| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            let terms = Terms { pricing: Pricing::Cpa, price: 10, records, ..terms() };
            end.changes = vec![Change { terms: terms.clone(), ..end.changes[0].clone() }];
            end.campaigns[0].terms = terms;
            ads.patches.clear();
            ads.reports.clear();
            ads.books.clear();
            for event in &mut end.events {
                event.cost = 0;
            }
            for record in &mut end.records {
                record.cost = 0;
            }
            for one in &mut ads.tries {
                one.cost = None;
            }
            end.campaigns[0].spent = 0;
            end.days.clear();
            end.stats.iter_mut().for_each(|stat| stat.spend = 0);
        }
    };
    assert_eq!(parts(cpa(true)), "");
    assert_eq!(parts(cpa(false)), "a");
}

#[test]
fn an_event_in_the_wrong_day() {
    // Accepted on Thursday, and applied after midnight.
    let by_applying = |_: &mut Ads, end: &mut AdsEnd| {
        end.events[1].day = FRIDAY.into();
        (end.days[0].spent, end.days[1].spent) = (10, 30);
        end.stats = vec![stat(THURSDAY, [1, 1, 1], 10), stat(FRIDAY, [3, 0, 0], 30)];
        end.user_days[0].impressions = 1;
        end.user_days.push(user_day("u", FRIDAY, [1, 0, 0]));
        count_users(end);
    };
    assert_eq!(parts(by_applying), "ad");
    // A lease of Thursday that was used on Friday.
    let beyond = |at_: u64| {
        move |ads: &mut Ads, end: &mut AdsEnd| {
            let late = accepted("e9", "w", AdKind::Impression, 29);
            let late = Try { from: at(at_), to: at(at_), ..late };
            take(ads, end, late);
        }
    };
    assert_eq!(parts(beyond(29)), "");
    assert_eq!(parts(beyond(32)), "a");
    assert_eq!(parts(beyond(30)), "", "clocks differ");
}

#[test]
fn a_change_that_was_not_made() {
    assert_eq!(parts(|ads, _| ads.patches[0].total = Some(121)), "a");
    assert_eq!(parts(|ads, _| ads.patches[0].revision = Some(3)), "a");
    assert_eq!(parts(|ads, _| ads.patches[0].cap = Some(3)), "a");
    assert_eq!(parts(|ads, _| ads.patches[0].daily = Some(39)), "a");
    assert_eq!(parts(|ads, _| ads.created[0].external_id = "two".into()), "a");
    assert_eq!(parts(|ads, _| ads.created[0].campaign = Some(2)), "a");
}

#[test]
fn a_budget_that_was_refused_although_it_was_possible() {
    let asked = |total| {
        move |ads: &mut Ads, _: &mut AdsEnd| {
            let patch = ads.patches[0].clone();
            let (code, least) = (Some("budget_below_spend".into()), Some(40));
            ads.patches.push(Patch { status: 409, code, total: Some(total), revision: None, least, ..patch });
        }
    };
    assert_eq!(parts(asked(39)), "");
    assert_eq!(parts(asked(40)), "b");
}

#[test]
fn books_that_promise_more_than_there_is() {
    assert_eq!(parts(|ads, _| ads.seen[0].reserved = 81), "b");
    let reserved = |reserved: i64| {
        move |ads: &mut Ads, _: &mut AdsEnd| {
            let books = &mut ads.books[0];
            (books.reserved, books.leased) = (reserved, reserved);
            (books.days[0].reserved, books.days[0].leased) = (20, 20);
        }
    };
    assert_eq!(parts(reserved(80)), "");
    assert_eq!(parts(reserved(81)), "b");
    let of_day = |reserved: i64| {
        move |ads: &mut Ads, _: &mut AdsEnd| {
            let day = &mut ads.books[0].days[0];
            (day.reserved, day.leased) = (reserved, reserved);
        }
    };
    assert_eq!(parts(of_day(20)), "");
    assert_eq!(parts(of_day(21)), "b");
    assert_eq!(parts(|ads, _| ads.books[0].leased = 19), "b", "the leases do not hold it");
    assert_eq!(parts(|ads, _| ads.books[0].days[0].leased = 19), "b");
}

#[test]
fn money_that_is_reserved_for_good() {
    let quiet = |ads: &mut Ads, _: &mut AdsEnd| (ads.books[1].reserved, ads.books[1].leased) = (10, 10);
    assert_eq!(parts(quiet), "b");
    let of_day = |ads: &mut Ads, _: &mut AdsEnd| {
        let day = &mut ads.books[1].days[0];
        (day.reserved, day.leased) = (10, 10);
    };
    assert_eq!(parts(of_day), "b");
    let lease = LeaseRow { lease: "l".into(), campaign: 1, day: FRIDAY.into(), amount: 30, settled: 20 };
    assert_eq!(parts(|_, end| end.leases.push(lease.clone())), "b", "it is not reserved");
    let held = |_: &mut Ads, end: &mut AdsEnd| {
        end.leases.push(lease.clone());
        end.campaigns[0].reserved = 10;
        end.days[1].reserved = 10;
    };
    assert_eq!(parts(held), "", "that of the probe");
}
