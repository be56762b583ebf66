//! The book against a model, and each of its rules by itself.

mod model;

use std::time::Duration;

use shared::ads::queries::{self, Facts, Lease, Room};
use time::macros::{date, datetime};

use super::*;

pub(super) const CAMPAIGN: i64 = 7;

pub(in crate::ads::admission) fn campaign(id: i64) -> CampaignId {
    CampaignId::try_from(id).unwrap()
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Of a running campaign whose impressions cost 10.
pub(in crate::ads::admission) fn facts() -> Facts {
    Facts {
        revision: 1,
        costs: [10, 0, 0].map(Nanos::new),
        cap: None,
        allow_unsure: false,
        record_exhausted: false,
        state: State::Running,
        day: date!(2026 - 11 - 30),
        day_begins: datetime!(2026-11-30 00:00 UTC),
        day_before: None,
        day_ends_in: secs(3_600),
        usable_for: secs(7),
    }
}

pub(in crate::ads::admission) fn lease(id: &str, amount: i64) -> Room {
    Room::Lease(Lease { id: id.to_owned(), amount: Nanos::new(amount) })
}

pub(in crate::ads::admission) const NO_ROOM: Room = Room::Exhausted { scope: Scope::Total, retry_after: Some(1) };
const EXHAUSTED: Refusal = Refusal::Exhausted { scope: Scope::Total, retry_after: Some(1) };

struct Desk {
    book: Book,
    start: Instant,
}

impl Desk {
    fn new() -> Self {
        Self { book: Book::default(), start: Instant::now() }
    }

    /// With this answer of PostgreSQL to a question at the beginning.
    fn with(facts: Facts, room: Room) -> Self {
        let desk = Self::new();
        desk.granted(0, facts, room);
        desk
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + self::millis(millis)
    }

    fn granted(&self, at: u64, facts: Facts, room: Room) {
        self.book.granted(campaign(CAMPAIGN), Some(Granted { facts, room }), self.at(at), self.at(at));
    }

    fn take(&self, event_type: AdEventType, at: u64) -> Taken {
        self.book.take(campaign(CAMPAIGN), event_type, true, self.at(at))
    }

    fn ticket(&self, event_type: AdEventType, at: u64) -> Ticket {
        match self.take(event_type, at) {
            Taken::Ticket(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(&self, event_type: AdEventType, at: u64) -> Refusal {
        match self.take(event_type, at) {
            Taken::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn waits(&self, event_type: AdEventType, at: u64) -> bool {
        matches!(self.take(event_type, at), Taken::Wait)
    }

    /// The amounts of the next question.
    fn wants(&self, at: u64) -> Vec<i64> {
        self.book.wants(self.at(at)).iter().map(|want| want.amount.get()).collect()
    }

    fn returns(&self) -> Vec<(String, i64)> {
        let mut returns: Vec<_> = self.book.returns().into_iter().map(|(id, amount)| (id, amount.get())).collect();
        returns.sort();
        returns
    }
}

use AdEventType::{Click, Conversion, Impression};

/// The time zone of a campaign that has spent nothing may change.
#[test]
fn a_lease_of_another_day_is_not_enough() {
    let desk = Desk::with(facts(), lease("a", 1_000));
    drop(desk.ticket(Impression, 0));
    desk.granted(10, Facts { day: date!(2026 - 12 - 01), ..facts() }, Room::NotAsked);
    assert!(desk.waits(Impression, 20));
    assert!(desk.wants(20).first().is_some_and(|amount| *amount > 0), "it is asked for");
    desk.granted(30, Facts { day: date!(2026 - 12 - 01), ..facts() }, lease("b", 1_000));
    assert_eq!(desk.ticket(Impression, 40).day, date!(2026 - 12 - 01));
}

#[test]
fn repeats_of_the_day_before_are_looked_for_during_an_hour() {
    let before = |ended_ago| {
        let day_before =
            queries::DayBefore { day: date!(2026 - 11 - 29), begins: datetime!(2026-11-29 00:00 UTC), ended_ago };
        let desk = Desk::with(Facts { cap: Some(2), day_before: Some(day_before), ..facts() }, lease("a", 20));
        let ticket = desk.ticket(AdEventType::Impression, 0);
        let before = ticket.cap.unwrap().day_before.unwrap();
        assert_eq!((before.day, before.begins), (day_before.day, day_before.begins));
        [before.repeated_until, before.applied_by].map(|until| until - desk.start)
    };
    assert_eq!(before(Duration::ZERO), [secs(3_600), secs(60)]);
    assert_eq!(before(secs(59)), [secs(3_541), secs(1)]);
    assert_eq!(before(secs(80_000)), [Duration::ZERO; 2]);
}

#[test]
fn an_unknown_campaign_is_asked_for_once_and_its_absence_is_remembered_for_a_tenth_of_a_second() {
    let desk = Desk::new();
    assert!(desk.wants(0).is_empty());
    assert!(desk.waits(Impression, 0) && desk.waits(Click, 0));
    assert_eq!(desk.wants(1), [1], "the price is not known: at least one");
    desk.book.granted(campaign(CAMPAIGN), None, desk.at(1), desk.at(50));
    assert_eq!(desk.refusal(Impression, 149), Refusal::NotFound);
    assert!(desk.wants(149).is_empty());
    assert!(desk.waits(Impression, 150));
    assert_eq!(desk.wants(150), [1]);
    // It is made meanwhile.
    desk.granted(160, facts(), lease("a", 10));
    assert!(desk.ticket(Impression, 170).unit.is_some());
}

#[test]
fn a_lease_pays_until_it_is_empty_or_ends() {
    let desk = Desk::with(facts(), lease("a", 25));
    let ticket = desk.ticket(Impression, 0);
    assert_eq!((ticket.cost.get(), ticket.day, ticket.until), (10, facts().day, desk.at(7_000)));
    assert_eq!(ticket.unit.unwrap().lease(), "a");
    drop(desk.ticket(Impression, 6_999).unit);
    assert!(desk.waits(Impression, 6_999), "5 are less than one price");
    assert!(desk.waits(Click, 7_000), "nothing is known after that");
    desk.wants(7_000);
    assert_eq!(desk.returns(), [("a".to_owned(), 5)]);
    assert!(desk.returns().is_empty());
}

#[test]
fn what_is_free_needs_facts_alone() {
    let desk = Desk::with(facts(), NO_ROOM);
    for event_type in [Click, Conversion] {
        let ticket = desk.ticket(event_type, 0);
        assert!(ticket.unit.is_none() && ticket.cost == Nanos::ZERO && ticket.until == desk.at(7_000));
    }
    assert_eq!(desk.refusal(Impression, 999), EXHAUSTED);
    let free = Desk::with(Facts { costs: [Nanos::ZERO; 3], ..facts() }, Room::NotAsked);
    assert!(free.ticket(Impression, 0).unit.is_none());
    assert!(free.wants(100).is_empty(), "and no money");
}

#[test]
fn an_impression_that_is_free_needs_room_for_one_click() {
    let facts = || Facts { costs: [0, 10, 0].map(Nanos::new), ..facts() };
    let desk = Desk::with(facts(), lease("a", 10));
    for _ in 0..3 {
        let ticket = desk.ticket(Impression, 0);
        assert!(ticket.unit.is_none() && ticket.cost == Nanos::ZERO);
    }
    let unit = desk.ticket(Click, 0).unit.unwrap();
    assert!(desk.waits(Impression, 1));
    assert_eq!(desk.wants(1), [20], "two seconds' clicks");
    desk.granted(2, facts(), NO_ROOM);
    assert_eq!(desk.refusal(Impression, 3), EXHAUSTED);
    assert_eq!(desk.refusal(Click, 3), EXHAUSTED);
    desk.book.give(unit, desk.at(4));
    assert!(desk.ticket(Impression, 5).unit.is_none(), "there is room again");
    let only_shown = Desk::with(facts(), Room::NotAsked);
    assert!(only_shown.waits(Impression, 0));
    assert_eq!(only_shown.wants(1), [10], "one price");
}

#[test]
fn a_refusal_is_remembered_for_a_second() {
    let desk = Desk::with(facts(), Room::Paced { retry_after: 9 });
    assert_eq!(desk.refusal(Impression, 0), Refusal::Paced { retry_after: 9 });
    assert!(desk.wants(999).is_empty());
    assert_eq!(desk.refusal(Impression, 999), Refusal::Paced { retry_after: 9 });
    assert!(desk.waits(Impression, 1_000));
    assert_eq!(desk.wants(1_000).len(), 1);
    desk.granted(1_001, facts(), lease("a", 10));
    assert!(desk.ticket(Impression, 1_002).unit.is_some(), "nothing of it is left");
}

#[test]
fn once_the_budget_is_spent_conversions_are_recorded_if_the_campaign_says_so() {
    let facts = || Facts { costs: [0, 0, 10].map(Nanos::new), record_exhausted: true, ..facts() };
    for (scope, retry_after) in [(Scope::Total, None), (Scope::Day, Some(3_600))] {
        let desk = Desk::with(facts(), Room::Exhausted { scope, retry_after });
        let ticket = desk.ticket(Conversion, 0);
        assert!(ticket.unit.is_none() && ticket.cost == Nanos::ZERO);
        assert_eq!(desk.refusal(Impression, 0), Refusal::Exhausted { scope, retry_after });
    }
    let lent = Desk::with(facts(), NO_ROOM);
    assert_eq!(lent.refusal(Conversion, 0), EXHAUSTED, "its money may come back");
    lent.granted(1_000, facts(), lease("a", 10));
    assert_eq!(lent.ticket(Conversion, 1_001).cost.get(), 10, "and then it is paid for");
    let paced = Desk::with(facts(), Room::Paced { retry_after: 9 });
    assert_eq!(paced.refusal(Conversion, 0), Refusal::Paced { retry_after: 9 });
    let spent = Room::Exhausted { scope: Scope::Total, retry_after: None };
    let refused = Desk::with(Facts { record_exhausted: false, ..facts() }, spent);
    let exhausted = Refusal::Exhausted { scope: Scope::Total, retry_after: None };
    assert_eq!(refused.refusal(Conversion, 0), exhausted);
}

#[test]
fn what_does_not_run_is_refused_and_its_leases_go_back() {
    for state in [State::Draft, State::Paused, State::Ended, State::Scheduled { in_s: 9 }] {
        let desk = Desk::with(facts(), lease("a", 100));
        let unit = desk.ticket(Impression, 0).unit.unwrap();
        desk.granted(100, Facts { state, ..facts() }, Room::NotAsked);
        for event_type in [Impression, Click, Conversion] {
            assert_eq!(desk.refusal(event_type, 101), Refusal::NotActive(state));
        }
        assert_eq!(desk.returns(), [("a".to_owned(), 90)]);
        desk.book.give(unit, desk.at(102));
        assert_eq!(desk.returns(), [("a".to_owned(), 10)]);
    }
    let desk = Desk::with(Facts { state: State::Scheduled { in_s: 3 }, ..facts() }, Room::NotAsked);
    assert_eq!(desk.refusal(Impression, 2_999), Refusal::NotActive(State::Scheduled { in_s: 3 }));
    assert!(desk.waits(Impression, 3_000), "it may have started");
}

#[test]
fn a_changed_campaign_is_asked_for_again() {
    let desk = Desk::with(Facts { revision: 5, ..facts() }, lease("a", 100));
    for known in [4, 5] {
        desk.book.revised(campaign(CAMPAIGN), Some(known));
        assert!(desk.ticket(Impression, 0).unit.is_some(), "{known}");
    }
    assert_eq!(desk.book.open(desk.at(0)), [campaign(CAMPAIGN)]);
    desk.book.revised(campaign(CAMPAIGN), Some(6));
    assert!(desk.waits(Impression, 1) && desk.waits(Click, 1));
    assert_eq!(desk.wants(1), [0], "of its lease there is enough");
    desk.granted(2, Facts { revision: 6, costs: [30, 0, 0].map(Nanos::new), ..facts() }, Room::NotAsked);
    assert_eq!(desk.ticket(Impression, 3).cost.get(), 30, "the lease pays the new price");
    desk.book.revised(campaign(CAMPAIGN), None);
    assert!(desk.waits(Impression, 4), "it is not there any more");
}

#[test]
fn a_lease_is_replaced_at_half_with_two_seconds_use() {
    let desk = Desk::with(facts(), lease("a", 100));
    for n in 0..5 {
        drop(desk.ticket(Impression, n * 100).unit);
    }
    assert!(desk.wants(500).is_empty(), "half is left");
    drop(desk.ticket(Impression, 500).unit);
    // Six in half a second, of which a second and a half is known.
    assert_eq!(desk.wants(500), [80]);
    desk.granted(510, facts(), lease("b", 80));
    assert!(desk.wants(520).is_empty());
    for n in 0..4 {
        assert_eq!(desk.ticket(Impression, 530 + n).unit.unwrap().lease(), "a", "the older one first");
    }
    assert_eq!(desk.ticket(Impression, 540).unit.unwrap().lease(), "b");
}

#[test]
fn facts_and_leases_are_replaced_before_they_end_if_the_campaign_is_in_use() {
    let desk = Desk::with(facts(), lease("a", 1_000));
    drop(desk.ticket(Impression, 4_000).unit);
    assert!(desk.wants(4_899).is_empty());
    assert_eq!(desk.wants(4_900).len(), 1);
    desk.granted(4_901, facts(), lease("b", 1_000));
    assert!(desk.wants(4_902).is_empty());
    // Not in use.
    assert!(desk.wants(11_000).is_empty());
    assert_eq!(desk.returns(), [("a".to_owned(), 990)]);
    assert!(desk.wants(12_000).is_empty());
    assert_eq!(desk.returns(), [("b".to_owned(), 1_000)]);
    assert!(desk.book.shards.iter().all(|shard| locked(shard).accounts.is_empty()), "it is forgotten");
}

/// Shortly before the day ends, leases are short.
#[test]
fn a_day_that_ends_does_not_hoard_leases() {
    let desk = Desk::new();
    assert!(desk.waits(Impression, 0));
    let (mut questions, mut at) = (0, 0);
    while at < 3_000 {
        let _ = desk.take(Impression, at);
        if !desk.wants(at).is_empty() {
            questions += 1;
            let left = millis(3_000 - at);
            desk.granted(at, Facts { usable_for: left, day_ends_in: left, ..facts() }, lease("a", 1_000));
        }
        at += 100;
    }
    assert!(questions <= 8, "{questions}");
    assert!(desk.waits(Impression, 3_000), "the next day has a lease of its own");
}

#[test]
fn a_slow_answer_shortens_the_lease() {
    let desk = Desk::new();
    let granted = Granted { facts: facts(), room: lease("a", 100) };
    desk.book.granted(campaign(CAMPAIGN), Some(granted), desk.at(0), desk.at(6_000));
    assert_eq!(desk.ticket(Impression, 6_500).until, desk.at(7_000));
    let late = Desk::new();
    let granted = Granted { facts: facts(), room: lease("a", 100) };
    late.book.granted(campaign(CAMPAIGN), Some(granted), late.at(0), late.at(7_000));
    assert!(late.waits(Impression, 7_000));
    late.wants(7_000);
    assert_eq!(late.returns(), [("a".to_owned(), 100)]);
}

#[test]
fn impressions_alone_have_a_cap() {
    let desk = Desk::with(Facts { cap: Some(2), allow_unsure: true, ..facts() }, lease("a", 100));
    let cap = desk.ticket(Impression, 0).cap.unwrap();
    assert_eq!(
        (cap.most, cap.day_begins, cap.day_ends, cap.allow_unsure),
        (2, facts().day_begins, desk.at(3_600_000), true)
    );
    assert!(desk.ticket(Click, 0).cap.is_none() && desk.ticket(Conversion, 0).cap.is_none());
}

#[test]
fn at_the_end_everything_goes_back() {
    let desk = Desk::with(facts(), lease("a", 100));
    desk.granted(1, facts(), lease("b", 100));
    let unit = desk.ticket(Impression, 2).unit.unwrap();
    drop(desk.ticket(Impression, 2).unit);
    desk.book.close();
    desk.book.give(unit, desk.at(3));
    assert_eq!(desk.returns(), [("a".to_owned(), 90), ("b".to_owned(), 100)], "but for one whose outcome is unknown");
}

#[test]
fn no_question_has_too_many_campaigns_and_each_has_its_turn() {
    let desk = Desk::new();
    for id in 1..=3_000 {
        assert!(matches!(desk.book.take(campaign(id), Impression, true, desk.at(0)), Taken::Wait));
    }
    let mut asked = std::collections::HashSet::new();
    for round in 0..4 {
        let wants = desk.book.wants(desk.at(round));
        // A part of the book is read as a whole.
        assert!(wants.len() < MOST_WANTS + 3_000 / SHARDS * 2, "{}", wants.len());
        for want in wants {
            asked.insert(want.campaign);
            desk.book.granted(want.campaign, None, desk.at(round), desk.at(round));
        }
    }
    assert_eq!(asked.len(), 3_000);
}
