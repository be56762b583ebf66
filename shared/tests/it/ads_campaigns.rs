//! Campaigns in PostgreSQL: who sees them, and what makes them.

use serde_json::{Value, json};
use shared::ads::queries::campaigns::{self, Actor, Campaigns, ChangeError, Shown, Viewer};
use shared::ads::queries::{Room, State};
use shared::ads::{CampaignId, Patch, Status, Terms};
use shared::kafka::Cause;
use sqlx::AssertSqlSafe;

use crate::ads::granted;
use crate::prelude::*;

/// The cause of what nobody asks about.
pub(crate) static UNKNOWN: Cause =
    Cause { correlation_id: None, causation_id: None, request_id: None, user_id: None, traceparent: None };
pub(crate) const BY_ALICE: Actor<'_> = Actor { subject: Some("alice"), request_id: Some("r-1"), cause: &UNKNOWN };
pub(crate) const OF_ALICE: Viewer<'_> = Viewer::Owner(Some("alice"));
/// Whatever revision the campaign has.
pub(crate) const ANY: fn(i64) -> bool = |_| true;

/// The body of a new campaign with these members instead of the usual ones.
pub(crate) fn body(members: &Value) -> Value {
    let mut body = json!({
        "name": "demo", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5", "daily_budget": "1",
        "freq_cap_impressions_per_day": 2
    });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

pub(crate) fn terms(members: &Value) -> Terms {
    Terms::parse(&body(members).to_string().into()).unwrap()
}

pub(crate) fn patch(members: &Value) -> Patch {
    Patch::parse(&members.to_string().into()).unwrap()
}

pub(crate) fn id(shown: &Shown) -> CampaignId {
    shown.id.to_string().parse().unwrap()
}

pub(crate) fn value(shown: &Shown) -> Value {
    serde_json::from_str(&shown.body).unwrap()
}

pub(crate) async fn create(kit: &Kit, members: Value) -> Shown {
    let (shown, is_new) = campaigns::create(&kit.store, Some("alice"), BY_ALICE, &terms(&members)).await.unwrap();
    assert!(is_new);
    shown
}

pub(crate) async fn change(kit: &Kit, campaign: &Shown, members: Value) -> Result<Shown, ChangeError> {
    campaigns::change(&kit.store, id(campaign), OF_ALICE, &ANY, &patch(&members), BY_ALICE).await
}

/// The faults of a change: pointers and details.
pub(crate) fn faults(outcome: Result<Shown, ChangeError>) -> Vec<String> {
    let Err(ChangeError::Faults(faults)) = outcome else { panic!("{outcome:?}") };
    faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
}

/// Runs a statement with the id of a campaign.
pub(crate) async fn sql(kit: &Kit, campaign: &Shown, statement: &str) {
    let statement = statement.replace("$1", &campaign.id.to_string());
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&kit.pool).await.unwrap();
}

/// Today's row of a campaign in UTC, with this money.
pub(crate) async fn day(kit: &Kit, campaign: &Shown, budget: &str, cap: &str, spent: i64, reserved: i64) {
    let sql_text = format!(
        "INSERT INTO campaign_days SELECT $1, (now() AT TIME ZONE 'UTC')::date, {budget}, {cap}, {spent}, {reserved}"
    );
    sql(kit, campaign, &sql_text).await;
}

#[tokio::test]
async fn a_campaign_is_shown_with_all_its_terms_and_its_money() {
    let kit = Kit::new("ads_shown").await;
    let shown = create(&kit, json!({"external_id": "x-1", "name": "an \"ad\", ü"})).await;
    assert_eq!((shown.id, shown.revision, shown.report_version), (1, 1, 1), "ids are small, and the first one is 1");
    let at = |name: &str| value(&shown)[name].as_str().unwrap().to_owned();
    let (created_at, updated_at) = (at("created_at"), at("updated_at"));
    assert_eq!(created_at.len(), "2026-01-02T03:04:05.678901Z".len());
    let expected = format!(
        concat!(
            r#"{{"id":1,"external_id":"x-1","name":"an \"ad\", ü","pricing_model":"cpm","unit_price":"10","#,
            r#""total_budget":"5","daily_budget":"1","freq_cap_impressions_per_day":2,"timezone":"UTC","#,
            r#""currency":"USD","starts_at":null,"ends_at":null,"status":"active","pacing":"asap","#,
            r#""on_exhausted":"refuse","cap_unsure":"refuse","click_requires_impression":false,"#,
            r#""duplicate_click_window_seconds":null,"conversion_window_seconds":null,"#,
            r#""user_events_per_minute":null,"blocked_user_agents":[],"state":"running","spent":"0","#,
            r#""reserved":"0","remaining":"5","revision":1,"owner":"alice","created_at":"{}","updated_at":"{}"}}"#
        ),
        created_at, updated_at
    );
    assert_eq!(shown.body, expected);
    assert_eq!(campaigns::get(&kit.store, id(&shown), OF_ALICE).await.unwrap(), Some(shown));
}

/// What is shown can be sent again: each member of the terms has one name and one spelling.
#[tokio::test]
async fn the_terms_that_are_shown_are_those_that_were_sent() {
    let kit = Kit::new("ads_round_trip").await;
    for members in [
        json!({}),
        json!({
            "external_id": "a.b", "unit_price": "0.000001", "total_budget": "999999999.999999", "daily_budget": 1,
            "freq_cap_impressions_per_day": null, "timezone": "America/New_York", "currency": "EUR",
            "starts_at": "2026-01-02T03:04:05.678901+01:00", "ends_at": "2036-01-02T03:04:05Z", "status": "paused",
            "pacing": "even", "on_exhausted": "record", "cap_unsure": "allow", "click_requires_impression": true,
            "duplicate_click_window_seconds": 30, "conversion_window_seconds": 31_536_000,
            "user_events_per_minute": 1_000_000, "blocked_user_agents": ["bot", "a\\b\"c", "ü, {x}", "NULL"]
        }),
        json!({"pricing_model": "cpa", "unit_price": "123456789.123456", "total_budget": "123456789.123456"}),
        json!({"pricing_model": "cpc", "unit_price": 0, "status": "draft", "ends_at": "0001-01-01T00:00:00Z"}),
    ] {
        let shown = create(&kit, members.clone()).await;
        let mut again = value(&shown);
        for own in ["id", "state", "spent", "reserved", "remaining", "revision", "owner", "created_at", "updated_at"] {
            assert!(again.as_object_mut().unwrap().remove(own).is_some(), "{own}");
        }
        assert_eq!(Terms::parse(&again.to_string().into()).unwrap(), terms(&members), "{again}");
    }
}

#[tokio::test]
async fn only_its_owner_and_an_admin_see_a_campaign() {
    let kit = Kit::new("ads_viewers").await;
    let owners = [Some("alice"), None, Some("bob"), Some("alice"), None];
    for owner in owners {
        campaigns::create(&kit.store, owner, BY_ALICE, &terms(&json!({}))).await.unwrap();
    }
    let ids = |page: &Campaigns| page.page.iter().map(|shown| shown.id).collect::<Vec<_>>();
    for (viewer, expected) in [
        (Viewer::All, vec![1, 2, 3, 4, 5]),
        (OF_ALICE, vec![1, 4]),
        (Viewer::Owner(Some("bob")), vec![3]),
        (Viewer::Owner(Some("carol")), vec![]),
        (Viewer::Owner(Some("")), vec![]),
        (Viewer::Owner(None), vec![2, 5]),
    ] {
        let all = campaigns::list(&kit.store, viewer, None, 10, None).await.unwrap();
        assert_eq!((ids(&all), all.next), (expected.clone(), None), "{viewer:?}");
        for id in 1..=6_i64 {
            let id = CampaignId::try_from(id).unwrap();
            let is_seen = expected.contains(&id.get());
            assert_eq!(campaigns::get(&kit.store, id, viewer).await.unwrap().is_some(), is_seen, "{viewer:?} {id}");
            let touched =
                campaigns::change(&kit.store, id, viewer, &ANY, &patch(&json!({"name": "n"})), BY_ALICE).await;
            assert_eq!(touched.is_ok(), is_seen, "{viewer:?} {id}");
            assert!(is_seen || matches!(touched, Err(ChangeError::NotFound)), "{touched:?}");
        }
    }
    for (id, owner) in (1..).zip(owners) {
        let id = CampaignId::try_from(id).unwrap();
        let found = campaigns::owner(&kit.store, id).await.unwrap();
        assert_eq!(found, Some(owner.map(str::to_owned)));
    }
    assert_eq!(campaigns::owner(&kit.store, CampaignId::try_from(6).unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_list_has_pages_and_may_have_one_status_only() {
    let kit = Kit::new("ads_list").await;
    for status in ["active", "draft", "active", "paused", "active"] {
        create(&kit, json!({"status": status})).await;
    }
    for viewer in [Viewer::All, OF_ALICE] {
        let list = async |after: Option<i64>, limit, status| {
            let after = after.map(|after| CampaignId::try_from(after).unwrap());
            let page = campaigns::list(&kit.store, viewer, after, limit, status).await.unwrap();
            (page.page.iter().map(|shown| shown.id).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(list(None, 2, None).await, (vec![1, 2], Some(2)));
        assert_eq!(list(Some(2), 2, None).await, (vec![3, 4], Some(4)));
        assert_eq!(list(Some(4), 2, None).await, (vec![5], None));
        assert_eq!(list(Some(3), 2, None).await, (vec![4, 5], None), "nothing comes after a full last page");
        assert_eq!(list(None, 2, Some(Status::Active)).await, (vec![1, 3], Some(3)));
        assert_eq!(list(Some(3), 2, Some(Status::Active)).await, (vec![5], None));
        assert_eq!(list(None, 2, Some(Status::Ended)).await, (vec![], None));
    }
}

#[tokio::test]
async fn creating_again_with_the_same_external_id_returns_the_first_and_uses_up_no_id() {
    let kit = Kit::new("ads_external").await;
    let create = async |owner: Option<&str>, members: Value| {
        let (shown, is_new) = campaigns::create(&kit.store, owner, BY_ALICE, &terms(&members)).await.unwrap();
        (shown.id, is_new, value(&shown)["name"].clone())
    };
    let named = |name: &str| json!({"external_id": "x", "name": name});
    assert_eq!(create(Some("alice"), named("first")).await, (1, true, json!("first")));
    for _ in 0..3 {
        assert_eq!(create(Some("alice"), named("again")).await, (1, false, json!("first")));
    }
    assert_eq!(create(Some("bob"), named("bob's")).await, (2, true, json!("bob's")));
    assert_eq!(create(None, named("nobody's")).await, (3, true, json!("nobody's")));
    assert_eq!(create(None, named("again")).await, (3, false, json!("nobody's")));
    assert_eq!(create(Some(""), named("of the empty subject")).await, (4, true, json!("of the empty subject")));
    // Without one, each is new.
    assert_eq!(create(Some("alice"), json!({})).await, (5, true, json!("demo")));
    let refused = campaigns::create(&kit.store, None, BY_ALICE, &terms(&json!({"timezone": "Mars/Base"}))).await;
    assert!(matches!(refused, Err(ChangeError::Faults(_))));
    assert_eq!(create(Some("alice"), json!({})).await, (6, true, json!("demo")), "a refusal uses up no id either");
    assert_eq!(kit.number("SELECT count(*) FROM campaign_changes").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_create_the_same_campaign_at_once_one_does() {
    let kit = Kit::new("ads_race").await;
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let store = kit.store.clone();
            tokio::spawn(async move {
                let owner = ["alice", "bob"][n % 2];
                let terms = terms(&json!({"external_id": format!("x-{}", n % 6)}));
                campaigns::create(&store, Some(owner), BY_ALICE, &terms).await.unwrap()
            })
        })
        .collect();
    let mut new = Vec::new();
    for task in tasks {
        let (shown, is_new) = task.await.unwrap();
        new.extend(is_new.then_some(shown.id));
    }
    new.sort_unstable();
    assert_eq!(new, [1, 2, 3, 4, 5, 6], "each once, and the ids are dense");
    assert_eq!(kit.number("SELECT count(*) FROM campaigns").await, 6);
}

#[tokio::test]
async fn a_time_zone_is_one_that_postgresql_knows_by_its_name() {
    let kit = Kit::new("ads_zones").await;
    for zone in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
        let shown = create(&kit, json!({"timezone": zone})).await;
        assert_eq!(value(&shown)["timezone"], zone);
        assert!(campaigns::is_zone(&kit.store, zone).await.unwrap());
    }
    // Neither abbreviations, nor the POSIX form, nor another case.
    // What is in the folder of the zones, and is none.
    let files = ["Factory", "localtime", "posixrules", "posix/Europe/Berlin", "right/Europe/Berlin"];
    for zone in ["Mars/Base", "CEST", "FOO+3", "europe/berlin", "utc"].into_iter().chain(files) {
        let refused = campaigns::create(&kit.store, None, BY_ALICE, &terms(&json!({"timezone": zone}))).await;
        let refused = faults(refused.map(|(shown, _)| shown));
        assert_eq!(refused, ["/timezone is not a time zone that is known here"], "{zone}");
    }
}

#[tokio::test]
async fn the_zone_is_fixed_with_its_first_day() {
    let kit = Kit::new("ads_fixed").await;
    let campaign = create(&kit, json!({})).await;
    let changed = change(&kit, &campaign, json!({"timezone": "Europe/Berlin"})).await.unwrap();
    assert_eq!(value(&changed)["timezone"], "Europe/Berlin");
    sql(&kit, &campaign, "INSERT INTO campaign_days VALUES ($1, '2020-01-01', NULL, NULL)").await;
    let fixed = "/timezone cannot be changed any more: the campaign has had a day in its time zone";
    assert_eq!(faults(change(&kit, &campaign, json!({"timezone": "UTC"})).await), [fixed]);
    assert_eq!(faults(change(&kit, &campaign, json!({"timezone": null})).await), [fixed], "that would be UTC");
    let same = change(&kit, &campaign, json!({"timezone": "Europe/Berlin", "name": "n"})).await.unwrap();
    assert_eq!(value(&same)["name"], "n");
}

#[tokio::test]
async fn events_that_a_campaign_refuses_do_not_fix_its_zone() {
    let kit = Kit::new("ads_unfixed").await;
    for members in [
        json!({"status": "draft"}),
        json!({"status": "paused"}),
        json!({"starts_at": "2999-01-01T00:00:00Z"}),
        json!({"ends_at": "2020-01-01T00:00:00Z"}),
    ] {
        let campaign = create(&kit, members.clone()).await;
        for amount in [0, 1] {
            let answer = granted(&kit.store, id(&campaign), amount).await;
            assert!(answer.facts.state != State::Running && answer.room == Room::NotAsked, "{members}: {answer:?}");
        }
        let moved = change(&kit, &campaign, json!({"timezone": "Europe/Berlin"})).await.unwrap();
        assert_eq!(value(&moved)["timezone"], "Europe/Berlin", "{members}");
        change(&kit, &campaign, json!({"status": "active", "starts_at": null, "ends_at": null})).await.unwrap();
        assert_eq!(granted(&kit.store, id(&campaign), 0).await.facts.state, State::Running);
        assert_eq!(faults(change(&kit, &campaign, json!({"timezone": "UTC"})).await).len(), 1, "{members}");
    }
}
