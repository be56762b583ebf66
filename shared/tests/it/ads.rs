//! The money of campaigns: leases, what events make of them, and what comes back.

use std::collections::HashMap;

use bytes::Bytes;
use devstack::kit::TEST_TIMEOUT;
use shared::ads::queries::{
    Applied, BEGIN, Closed, Facts, Granted, Grants, IfLocked, Lease, Outcome, Released, Room, Scope, State, Want,
    apply, audit, close_leases, erase_user, expire, expired_leases, give_back, grant, next_campaign, open_leases,
};
use shared::ads::{AdData, AdDelivery, AdEvent, AdEventType, CampaignId, Nanos};
use shared::store::{Failure, Tx, Work};
use sqlx::AssertSqlSafe;
use time::{Date, OffsetDateTime};

use crate::prelude::*;

/// A billionth of a unit is 1.
const UNIT: i64 = 1_000_000_000;

struct Batch<'a>(&'a [&'a AdDelivery]);

impl Work for Batch<'_> {
    type Output = Applied;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Applied, Failure> {
        apply(tx, self.0).await
    }
}

/// Makes a campaign, a price of 0.01 an impression and a budget of 5, with these columns changed.
pub(crate) async fn campaign(kit: &Kit, changed: &[(&str, &str)]) -> CampaignId {
    let mut columns: HashMap<&str, &str> = HashMap::from([
        ("name", "'demo'"),
        ("pricing_model", "'cpm'"),
        ("unit_price", "10000000000"),
        ("currency", "'USD'"),
        ("total_budget", "5000000000"),
        ("timezone", "'UTC'"),
        ("status", "'active'"),
        ("pacing", "'asap'"),
        ("on_exhausted", "'refuse'"),
        ("cap_unsure", "'refuse'"),
        ("click_requires_impression", "false"),
        ("blocked_user_agents", "'{}'"),
    ]);
    columns.extend(changed.iter().copied());
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let sql = format!("INSERT INTO campaigns ({}) VALUES ({}) RETURNING id", names.join(", "), values.join(", "));
    let id: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&kit.pool).await.unwrap();
    id.try_into().unwrap()
}

pub(crate) async fn granted(store: &Store, campaign: CampaignId, amount: i64) -> Granted {
    let wants = [Want { campaign, amount: Nanos::new(amount) }];
    grant(store, "test", &wants, IfLocked::Wait).await.unwrap().granted.remove(&campaign).unwrap()
}

pub(crate) async fn lease(store: &Store, campaign: CampaignId, amount: i64) -> (Lease, Facts) {
    let Granted { facts, room } = granted(store, campaign, amount).await;
    match room {
        Room::Lease(lease) => (lease, facts),
        other => panic!("{other:?}"),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// An ad event at this offset.
pub(crate) struct Ad<'a> {
    campaign: CampaignId,
    pub(crate) user: &'a str,
    id: &'a str,
    kind: AdEventType,
    lease: Option<&'a Lease>,
    cost: i64,
    day: Date,
    at: OffsetDateTime,
    offset: i64,
}

impl<'a> Ad<'a> {
    pub(crate) fn new(campaign: CampaignId, id: &'a str, lease: Option<&'a Lease>, day: Date, offset: i64) -> Self {
        Self { campaign, user: "u", id, kind: AdEventType::Impression, lease, cost: UNIT / 100, day, at: now(), offset }
    }

    pub(crate) fn delivery(&self) -> AdDelivery {
        let event = AdEvent {
            campaign: self.campaign,
            user: self.user.parse().unwrap(),
            event_type: self.kind,
            lease: self.lease.map(|lease| lease.id.clone()),
            day: self.day,
            cost: Nanos::new(self.cost),
            data: AdData::default(),
        };
        let outgoing = event.outgoing(self.id.parse().unwrap(), self.at, self.at);
        let mut position = at(0, self.offset);
        position.appended_at = self.at;
        AdDelivery { envelope: outgoing.envelope, position, event }
    }
}

pub(crate) async fn applied(store: &Store, events: &[AdDelivery]) -> Vec<Outcome> {
    let batch: Vec<_> = events.iter().collect();
    let applied = store.transact(BEGIN, &Batch(&batch)).await.unwrap();
    assert_eq!(audit(store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
    applied.events.iter().map(|event| event.outcome).collect()
}

/// Spent and reserved, in hundredths.
async fn money(kit: &Kit, campaign: CampaignId) -> (i64, i64) {
    let query = sqlx::query_as("SELECT spent / 10000000, reserved / 10000000 FROM campaigns WHERE id = $1");
    query.bind(campaign.get()).fetch_one(&kit.pool).await.unwrap()
}

#[tokio::test]
async fn a_lease_is_reserved_spent_given_back_and_closed() {
    let kit = Kit::new("ads_lease").await;
    let id = campaign(&kit, &[("daily_budget", "1000000000")]).await;
    assert_eq!(id.get(), 1, "the first one");
    let (lease, facts) = lease(&kit.store, id, UNIT / 10).await;
    assert_eq!((lease.amount.get(), facts.state, facts.revision), (UNIT / 10, State::Running, 1));
    assert_eq!(facts.costs.map(Nanos::get), [UNIT / 100, 0, 0]);
    assert!(facts.usable_for <= Duration::from_secs(7) && facts.day_ends_in <= Duration::from_secs(86_400));
    assert_eq!(money(&kit, id).await, (0, 10));

    let event = |name, offset| Ad::new(id, name, Some(&lease), facts.day, offset).delivery();
    let two = [event("a", 0), event("b", 1)];
    assert_eq!(applied(&kit.store, &two).await, [Outcome::Counted; 2]);
    assert_eq!(money(&kit, id).await, (2, 8));
    assert_eq!(applied(&kit.store, &two).await, [Outcome::Repeated; 2], "twice is once");
    assert_eq!(applied(&kit.store, &[event("a", 2)]).await, [Outcome::Repeated], "another copy costs nothing");
    assert_eq!(money(&kit, id).await, (2, 8));

    let back = [(lease.id.clone(), Nanos::new(UNIT / 20)), ("unknown".into(), Nanos::new(1))];
    give_back(&kit.store, &back, IfLocked::Skip).await.unwrap();
    assert_eq!(money(&kit, id).await, (2, 3));
    assert_eq!(open_leases(&kit.store).await.unwrap().count, 1);
    assert!(expired_leases(&kit.store, Duration::ZERO, 10).await.unwrap().is_empty());
    kit.sql("UPDATE ad_leases SET expires_at = now() - interval '7s'").await;
    let expired = expired_leases(&kit.store, Duration::from_secs(7), 10).await.unwrap();
    assert!(expired.iter().eq([&lease.id]));
    assert!(open_leases(&kit.store).await.unwrap().oldest_s >= 7.0);
    let close = async || close_leases(&kit.store, &expired, IfLocked::Skip).await.unwrap();
    let closed = Closed { leases: 1, freed: Nanos::new(UNIT / 100 * 3) };
    assert_eq!(close().await, Released { closed, ..Released::default() });
    assert_eq!(close().await, Released::default(), "it is closed already");
    assert_eq!(money(&kit, id).await, (2, 0));
    assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
}

#[tokio::test]
async fn a_lease_that_is_used_up_is_gone_and_what_comes_late_needs_room() {
    let kit = Kit::new("ads_late").await;
    // Room for three.
    let id = campaign(&kit, &[("total_budget", "30000000")]).await;
    let (lease, facts) = lease(&kit.store, id, 1).await;
    let event = |name, offset| Ad::new(id, name, Some(&lease), facts.day, offset).delivery();
    assert_eq!(applied(&kit.store, &[event("a", 0)]).await, [Outcome::Counted]);
    assert_eq!((money(&kit, id).await, open_leases(&kit.store).await.unwrap().count), ((1, 0), 0));
    let late: Vec<_> = ["b", "c", "d", "e"].into_iter().zip(1..).map(|(name, offset)| event(name, offset)).collect();
    let expected = [Outcome::Counted, Outcome::Counted, Outcome::Void, Outcome::Void];
    assert_eq!(applied(&kit.store, &late).await, expected, "as long as there is room");
    assert_eq!(money(&kit, id).await, (3, 0));
    assert_eq!(applied(&kit.store, &late[2..]).await, [Outcome::Repeated; 2]);

    kit.sql("UPDATE campaigns SET total_budget = total_budget + 10000000").await;
    assert_eq!(applied(&kit.store, &late[2..3]).await, [Outcome::Repeated], "the same record stays void");
    assert_eq!(applied(&kit.store, &[event("d", 9)]).await, [Outcome::Counted], "another copy has room");
    assert_eq!(money(&kit, id).await, (4, 0));
    assert_eq!(kit.number("SELECT void FROM campaigns").await, 1);
    assert_eq!(kit.number("SELECT sum(void)::bigint FROM ad_stats").await, 1);
    assert_eq!(applied(&kit.store, &[event("e", 10), event("d", 11)]).await, [Outcome::Repeated; 2]);
}

#[tokio::test]
async fn nobody_gets_more_than_there_is_however_many_ask() {
    let kit = Kit::new("ads_race").await;
    let id = campaign(&kit, &[]).await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = kit.store.clone();
            tokio::spawn(async move {
                let (mut all, mut refused) = (0, 0);
                while refused < 3 {
                    match granted(&store, id, UNIT / 4).await.room {
                        Room::Lease(lease) => all += lease.amount.get(),
                        Room::Exhausted { scope: Scope::Total, retry_after: Some(1) } => refused += 1,
                        other => panic!("{other:?}"),
                    }
                }
                all
            })
        })
        .collect();
    let mut all = 0;
    for task in tasks {
        all += tokio::time::timeout(TEST_TIMEOUT, task).await.unwrap().unwrap();
    }
    assert_eq!(all, 5 * UNIT, "to the last unit");
    assert_eq!(money(&kit, id).await, (0, 500));
}

#[tokio::test]
async fn a_campaign_that_takes_no_events_gets_no_money_and_an_unknown_one_no_answer() {
    let kit = Kit::new("ads_states").await;
    let state = |facts: Granted| (facts.facts.state, facts.room);
    for (changed, expected) in [
        (("status", "'draft'"), State::Draft),
        (("status", "'paused'"), State::Paused),
        (("status", "'ended'"), State::Ended),
        (("ends_at", "now() - interval '1s'"), State::Ended),
        (("starts_at", "now() + interval '99.5s'"), State::Scheduled { in_s: 100 }),
    ] {
        let id = campaign(&kit, &[changed]).await;
        assert_eq!(state(granted(&kit.store, id, 1).await), (expected, Room::NotAsked), "{changed:?}");
    }
    let unknown: CampaignId = "77".parse().unwrap();
    let wants = [Want { campaign: unknown, amount: Nanos::ZERO }];
    assert_eq!(grant(&kit.store, "test", &wants, IfLocked::Skip).await.unwrap(), Grants::default());
    let day = campaign(&kit, &[("daily_budget", "5000000")]).await;
    let Room::Exhausted { scope: Scope::Day, retry_after: Some(in_s) } = granted(&kit.store, day, 1).await.room else {
        panic!("less than one price a day")
    };
    assert!((1..=86_401).contains(&in_s));
    let short = campaign(&kit, &[("ends_at", "now() + interval '3s'")]).await;
    assert!(lease(&kit.store, short, 1).await.1.usable_for <= Duration::from_secs(3), "not past the end");
}

#[tokio::test]
async fn a_cap_and_rules_refuse_and_the_money_is_free_again() {
    let kit = Kit::new("ads_rules").await;
    let rules = [("cap", "2"), ("click_requires_impression", "true"), ("duplicate_click_window", "60")];
    let id = campaign(&kit, &rules).await;
    let (lease, facts) = lease(&kit.store, id, UNIT / 10).await;
    let shown = |name, offset| Ad::new(id, name, Some(&lease), facts.day, offset);
    let clicked = |name, offset| Ad { kind: AdEventType::Click, lease: None, cost: 0, ..shown(name, offset) };
    let events = [
        clicked("c1", 0).delivery(),
        shown("i1", 1).delivery(),
        shown("i2", 2).delivery(),
        shown("i3", 3).delivery(),
        clicked("c2", 4).delivery(),
        clicked("c3", 5).delivery(),
        Ad { user: "v", ..shown("i4", 6) }.delivery(),
    ];
    use Outcome::{Counted, Invalid, Void};
    assert_eq!(applied(&kit.store, &events).await, [Invalid, Counted, Counted, Void, Counted, Invalid, Counted]);
    assert_eq!(money(&kit, id).await, (3, 6), "an event that is void costs nothing, and its money is free");
    let reasons: Vec<(String, String)> =
        sqlx::query_as("SELECT event_id, reason FROM ad_events WHERE reason IS NOT NULL ORDER BY event_id")
            .fetch_all(&kit.pool)
            .await
            .unwrap();
    let reasons: Vec<_> = reasons.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    assert_eq!(reasons, [("c1", "no_impression"), ("c3", "duplicate_click"), ("i3", "capped")]);
    assert_eq!(kit.number("SELECT users FROM campaigns").await, 2);
    let all: (i64, i64, i64) =
        sqlx::query_as("SELECT impressions, clicks, report_version FROM campaigns").fetch_one(&kit.pool).await.unwrap();
    assert_eq!(all, (3, 1, 8), "the version counts every event");
    kit.sql("UPDATE campaigns SET cap = NULL; UPDATE campaign_days SET cap = NULL").await;
    assert_eq!(applied(&kit.store, &[shown("i3", 9).delivery()]).await, [Counted], "a day's greatest cap decides");
}

#[tokio::test]
async fn an_erased_user_and_expired_events_leave_their_sums() {
    let kit = Kit::new("ads_erase").await;
    let id = campaign(&kit, &[]).await;
    let (lease, facts) = lease(&kit.store, id, UNIT / 10).await;
    let event = |name, user, offset| Ad { user, ..Ad::new(id, name, Some(&lease), facts.day, offset) }.delivery();
    let events = [event("a", "u", 0), event("b", "v", 1)];
    applied(&kit.store, &events).await;
    let erased = erase_user(&kit.store, &"u".parse().unwrap()).await.unwrap();
    assert_eq!((erased.events, erased.days, erased.sets), (1, 1, vec![(id.get(), facts.day)]));
    assert_eq!(
        applied(&kit.store, &events).await,
        [Outcome::Forgotten, Outcome::Repeated],
        "it has no effect any more"
    );
    let later = Ad { at: now() + Duration::from_secs(1), ..Ad::new(id, "c", Some(&lease), facts.day, 2) }.delivery();
    assert_eq!(applied(&kit.store, &[later]).await, [Outcome::Counted], "what comes after the erasure counts");
    assert_eq!(money(&kit, id).await.0, 3);
    assert_eq!(kit.number("SELECT booked_out / 10000000 FROM campaigns").await, 1);

    assert_eq!(expire(&kit.store, Duration::from_secs(60), 100).await.unwrap(), Some(0));
    kit.sql("UPDATE ad_events SET recorded_at = recorded_at - interval '1h'").await;
    assert_eq!(expire(&kit.store, Duration::from_secs(60), 1).await.unwrap(), Some(1));
    assert_eq!(expire(&kit.store, Duration::from_secs(60), 100).await.unwrap(), Some(1));
    assert_eq!(kit.number("SELECT booked_out / 10000000 FROM campaigns").await, 3, "all of what was spent");
    assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
}

#[tokio::test]
async fn a_probe_leaves_nothing_and_an_unknown_campaign_is_a_failure_of_its_event() {
    let kit = Kit::new("ads_probe").await;
    let nobody = Bytes::from_static(b"{}");
    let payload = shared::runtime::json::Payload::check(nobody, "").unwrap();
    let (_, event) = AdEvent::of_nobody(" nobody".into(), payload);
    let outgoing = event.outgoing("probe".parse().unwrap(), now(), now());
    let probe = AdDelivery { envelope: outgoing.envelope, position: at(0, 0), event };
    kit.store.probe(BEGIN, &Batch(&[&probe])).await.unwrap();
    assert_eq!(kit.number("SELECT count(*) FROM ad_events").await, 0);
    let unknown = Ad::new("9".parse().unwrap(), "a", None, now().date(), 0).delivery();
    let failed = kit.store.transact(BEGIN, &Batch(&[&unknown])).await.unwrap_err();
    assert_eq!((failed.class, failed.reason.as_str()), (Class::Failed, "there is no campaign 9"));
}

#[tokio::test]
async fn the_next_campaign_is_that_with_the_next_id() {
    let kit = Kit::new("ads_next").await;
    for id in [1, 2, 3] {
        assert_eq!(campaign(&kit, &[]).await.get(), id);
    }
    kit.sql("DELETE FROM campaigns WHERE id = 2").await;
    for (after, next) in [(0, Some(1)), (1, Some(3)), (2, Some(3)), (3, None)] {
        assert_eq!(next_campaign(&kit.store, after).await.unwrap(), next, "{after}");
    }
}
