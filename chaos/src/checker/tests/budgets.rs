//! Promise 6 on an intact history of a campaign, and on each way of breaking each part of it.
//!
//! The campaign is in its own time zone, in which midnight is 30 s after the run began.

mod caps;
mod counts;
mod events;
mod fences;
mod money;
mod reports;
mod room;

use super::*;
use crate::history::ads::{
    AdKind, AdLetter, AdRecord, Ads, AdsEnd, Books, CachedReport, CampaignRow, Change, Created, DayBegin, DayBooks,
    DayRow, EventRow, FrozenApi, InvalidRow, LeaseRow, Outcome, Patch, Pricing, Report, Seen, StatRow, Terms, Try,
    UserDay,
};

const THURSDAY: &str = "2026-11-26";
const FRIDAY: &str = "2026-11-27";
/// When the run began, and the days, in microseconds.
const BEGAN: i64 = 1_000_000_000_000_000;
const SECOND: i64 = 1_000_000;
const MIDNIGHT: i64 = BEGAN + 30 * SECOND;
const DAY: i64 = 86_400 * SECOND;

fn clock(seconds: i64) -> i64 {
    BEGAN + seconds * SECOND
}

/// An impression costs 10.
fn terms() -> Terms {
    Terms {
        pricing: Pricing::Cpm,
        price: 10_000,
        total: 100,
        daily: Some(40),
        cap: Some(2),
        status: "active".into(),
        allows: false,
        records: false,
        filters: false,
    }
}

fn tried(id: &str, user: &str, kind: AdKind, at_: u64, status: u16) -> Try {
    Try {
        campaign: 1,
        user: user.into(),
        kind,
        id: id.into(),
        from: at(at_),
        to: at(at_) + Duration::from_millis(100),
        api: 0,
        status,
        code: None,
        day: None,
        cost: None,
        retry_after: None,
        batched: false,
        probe: false,
    }
}

fn accepted(id: &str, user: &str, kind: AdKind, at_: u64) -> Try {
    let day = if at_ < 30 { THURSDAY } else { FRIDAY };
    let cost = if kind == AdKind::Impression { 10 } else { 0 };
    Try { day: Some(day.into()), cost: Some(cost), ..tried(id, user, kind, at_, 202) }
}

fn refused(id: &str, user: &str, at_: u64, status: u16, code: &str) -> Try {
    Try { code: Some(code.into()), ..tried(id, user, AdKind::Impression, at_, status) }
}

fn capped(id: &str, user: &str, at_: u64) -> Try {
    Try { retry_after: Some(30 - at_), ..refused(id, user, at_, 429, "frequency_capped") }
}

fn event(one: &Try, offset: i64) -> EventRow {
    EventRow {
        campaign: one.campaign,
        id: one.id.clone(),
        user: one.user.clone(),
        kind: one.kind,
        day: one.day.clone().unwrap(),
        cost: one.cost.unwrap(),
        value: (one.kind == AdKind::Conversion).then_some(7),
        outcome: Outcome::Counted,
        reason: None,
        accepted: BEGAN + i64::try_from(one.from.as_micros()).unwrap(),
        partition: 0,
        offset,
    }
}

fn of_log(row: &EventRow) -> AdRecord {
    AdRecord {
        campaign: row.campaign,
        id: row.id.clone(),
        user: row.user.clone(),
        kind: row.kind,
        partition: row.partition,
        offset: row.offset,
        lease: (row.cost > 0).then(|| "lease-1".into()),
        day: row.day.clone(),
        cost: row.cost,
    }
}

fn stat(day: &str, [impressions, clicks, conversions]: [i64; 3], spend: i64) -> StatRow {
    StatRow {
        campaign: 1,
        day: day.into(),
        hour: 0,
        impressions,
        clicks,
        conversions,
        spend,
        value: 7 * conversions,
        void: 0,
        users: Some(0),
    }
}

fn user_day(user: &str, day: &str, [impressions, clicks, conversions]: [i64; 3]) -> UserDay {
    UserDay { campaign: 1, user: user.into(), day: day.into(), impressions, clicks, conversions }
}

fn books(at_: u64, spent: i64, reserved: i64, terms: Terms) -> Books {
    let today = if at_ < 30 { THURSDAY } else { FRIDAY };
    let of_day = if at_ < 30 { spent } else { spent - 20 };
    let day = DayBooks { day: today.into(), budget: terms.daily, spent: of_day, reserved, leased: reserved };
    let days = vec![day];
    Books {
        campaign: 1,
        at: at(at_),
        quiet: false,
        terms,
        spent,
        reserved,
        leased: reserved,
        today: today.into(),
        days,
    }
}

fn report(at_: u64, version: i64, [impressions, clicks, conversions]: [i64; 3]) -> Report {
    Report {
        campaign: 1,
        from: at(at_),
        to: at(at_),
        version,
        impressions,
        clicks,
        conversions,
        void: 0,
        invalid: 0,
        spend: 10 * impressions,
        remaining: 100 - 10 * impressions,
        bypass: false,
    }
}

/// Two impressions, a click and a conversion of "u" on Thursday, and a third that is refused; an impression of "v" on
/// Friday; one that nobody knows of, and one that was not taken; a change of the budget; a report, a probe.
pub(crate) fn whole_ads() -> (Ads, AdsEnd) {
    let (impression, click, conversion) = (AdKind::Impression, AdKind::Click, AdKind::Conversion);
    let probe = Try { probe: true, ..accepted("p1", "probe", impression, 61) };
    let taken = [
        accepted("e1", "u", impression, 1),
        accepted("e2", "u", impression, 2),
        accepted("c1", "u", click, 4),
        accepted("x1", "u", conversion, 5),
        accepted("e3", "v", impression, 31),
        probe,
    ];
    let events: Vec<_> = (0..).zip(&taken).map(|(offset, one)| event(one, offset)).collect();
    let mut tries = taken.to_vec();
    tries.extend([
        capped("e4", "u", 3),
        // Their answers were lost, and they were not taken.
        tried("e5", "w", impression, 6, 0),
        refused("e6", "w", 7, 503, "queue_full"),
        // Sent again.
        accepted("e1", "u", impression, 8),
    ]);
    let changed = Terms { total: 120, ..terms() };
    let change = |revision, at_, spent, terms| Change {
        campaign: 1,
        revision,
        day: THURSDAY.into(),
        at: clock(at_),
        terms,
        spent,
        reserved: 0,
    };
    let ads = Ads {
        began: BEGAN,
        created: vec![Created { external_id: "one".into(), status: 201, campaign: Some(1), terms: terms() }],
        tries,
        patches: vec![Patch {
            campaign: 1,
            from: at(10),
            to: at(10),
            status: 200,
            code: None,
            total: Some(120),
            daily: None,
            cap: None,
            revision: Some(2),
            least: None,
        }],
        seen: vec![Seen { campaign: 1, at: at(9), total: 100, spent: 20, reserved: 20 }],
        reports: vec![report(3, 2, [2, 0, 0]), report(9, 4, [2, 1, 1])],
        books: vec![books(8, 20, 20, terms()), Books { quiet: true, ..books(60, 30, 0, changed.clone()) }],
        commits: vec![commit(2.5, 2), commit(8.0, 4)],
        frozen: vec![],
        evicted: vec![],
    };
    let day = |day: &str, spent| DayRow { campaign: 1, day: day.into(), budget: Some(40), spent, reserved: 0 };
    let days = [(THURSDAY, MIDNIGHT - DAY), (FRIDAY, MIDNIGHT), ("2026-11-28", MIDNIGHT + DAY)];
    let mut end = AdsEnd {
        campaigns: vec![CampaignRow {
            campaign: 1,
            external_id: Some("one".into()),
            terms: changed.clone(),
            spent: 40,
            reserved: 0,
            booked_out: 0,
            impressions: 4,
            clicks: 1,
            conversions: 1,
            value: 7,
            void: 0,
            users: Some(0),
            days: days.map(|(day, begins)| DayBegin { day: day.into(), begins }).into(),
        }],
        changes: vec![change(1, 0, 0, terms()), change(2, 10, 20, changed)],
        days: vec![day(THURSDAY, 20), day(FRIDAY, 20)],
        leases: vec![],
        records: events.iter().map(of_log).collect(),
        events,
        stats: vec![stat(THURSDAY, [2, 1, 1], 20), stat(FRIDAY, [2, 0, 0], 20)],
        user_days: vec![
            user_day("u", THURSDAY, [2, 1, 1]),
            user_day("v", FRIDAY, [1, 0, 0]),
            user_day("probe", FRIDAY, [1, 0, 0]),
        ],
        invalid: vec![],
        letters: vec![],
        cached: vec![CachedReport { campaign: 1, body: "{}".into(), stored: "{}".into() }],
        left: BTreeMap::new(),
    };
    count_users(&mut end);
    (ads, end)
}

/// The parts of promise 6 that are broken after this change; each violation names the campaign.
fn parts(change: impl FnOnce(&mut Ads, &mut AdsEnd)) -> String {
    parts_as_asked(|ads, end| {
        change(ads, end);
        if let Some(first) = end.changes.first() {
            ads.created[0].terms = first.terms.clone();
        }
    })
}

/// The same, with the terms that the advertiser asked for.
fn parts_as_asked(change: impl FnOnce(&mut Ads, &mut AdsEnd)) -> String {
    let broken = found(|history, end| {
        change(&mut history.ads, &mut end.ads);
        // Whatever changed, it was told.
        (history.placements, end.placements) = super::placements::whole_placements(&end.ads);
    });
    assert!(broken.iter().all(|broken| broken.promise == 6), "{broken:?}");
    let parts: BTreeSet<_> = broken.into_iter().filter_map(|broken| broken.part).collect();
    parts.into_iter().collect()
}

/// Counts the users of the counted events, each day's in its first hour.
fn count_users(end: &mut AdsEnd) {
    let counted = end.events.iter().filter(|event| event.outcome == Outcome::Counted);
    let seen: BTreeSet<_> = counted.map(|event| (&*event.day, &*event.user)).collect();
    let number = |users: usize| i64::try_from(users).ok();
    end.campaigns[0].users = number(seen.iter().map(|(_, user)| user).collect::<BTreeSet<_>>().len());
    let mut days = BTreeSet::new();
    for stat in &mut end.stats {
        let is_first = days.insert(stat.day.clone());
        let users = seen.iter().filter(|(day, _)| is_first && *day == stat.day).count();
        stat.users = number(users);
    }
}

/// Takes an impression at this moment, and does the books for it.
fn take(ads: &mut Ads, end: &mut AdsEnd, one: Try) {
    let row = event(&one, i64::try_from(end.events.len()).unwrap());
    let (cost, is_first) = (row.cost, row.day == THURSDAY);
    let index = usize::from(!is_first);
    end.campaigns[0].spent += cost;
    end.campaigns[0].impressions += 1;
    end.days[index].spent += cost;
    end.stats[index].spend += cost;
    end.stats[index].impressions += 1;
    match end.user_days.iter_mut().find(|day| day.user == row.user && day.day == row.day) {
        Some(day) => day.impressions += 1,
        None => end.user_days.push(user_day(&row.user, &row.day, [1, 0, 0])),
    }
    end.records.push(of_log(&row));
    end.events.push(row);
    count_users(end);
    ads.tries.push(one);
}

/// The event at this place becomes void, and the books say so.
fn make_void(end: &mut AdsEnd, place: usize, reason: &str) {
    let event = &mut end.events[place];
    event.outcome = Outcome::Void;
    event.reason = Some(reason.into());
    let cost = std::mem::take(&mut event.cost);
    let (user, day) = (event.user.clone(), event.day.clone());
    let index = usize::from(day != THURSDAY);
    end.campaigns[0].spent -= cost;
    end.campaigns[0].impressions -= 1;
    end.campaigns[0].void += 1;
    end.days[index].spent -= cost;
    end.stats[index].spend -= cost;
    end.stats[index].impressions -= 1;
    end.stats[index].void += 1;
    end.user_days.iter_mut().find(|row| row.user == user && row.day == day).unwrap().impressions -= 1;
    count_users(end);
}

#[test]
fn the_whole_history_has_a_part_of_each_kind() {
    assert_eq!(parts(|_, _| {}), "");
    let (mut history, mut end) = whole();
    (history.ads, end.ads) = whole_ads();
    let verdict = check(&history, &end);
    assert_eq!(verdict.reports, Judged { strict: 2, excused: 0 });
    assert_eq!(parts(|ads, end| take(ads, end, accepted("e9", "v", AdKind::Impression, 32))), "", "its second one");
}

#[test]
fn a_violation_names_its_part_and_its_campaign() {
    let broken = found(|_, end| end.ads.campaigns[0].reserved = 10);
    let [broken] = &*broken else { panic!("{broken:?}") };
    assert_eq!((broken.of(), &*broken.device), ("6b".to_owned(), "campaign 1"));
    assert_eq!(broken.what, "at the end 10 is reserved, and the leases hold 0");
}
