//! Campaigns in PostgreSQL: who sees them, what a change may do, and what it leaves.

use bytes::Bytes;
use serde_json::{Value, json};
use shared::ads::queries::campaigns::{self, Actor, Campaigns, ChangeError, Shown, Viewer};
use shared::ads::{CampaignId, Patch, Status, Terms};
use sqlx::AssertSqlSafe;

use crate::prelude::*;

const BY_ALICE: Actor<'_> = Actor { subject: Some("alice"), request_id: Some("r-1") };
const OF_ALICE: Viewer<'_> = Viewer::Owner(Some("alice"));
/// Whatever revision the campaign has.
const ANY: fn(i64) -> bool = |_| true;

/// The body of a new campaign with these members instead of the usual ones.
fn body(members: &Value) -> Value {
    let mut body = json!({
        "name": "demo", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5", "daily_budget": "1",
        "freq_cap_impressions_per_day": 2
    });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn terms(members: &Value) -> Terms {
    Terms::parse(&body(members).to_string().into()).unwrap()
}

fn patch(members: &Value) -> Patch {
    Patch::parse(&members.to_string().into()).unwrap()
}

fn id(shown: &Shown) -> CampaignId {
    shown.id.to_string().parse().unwrap()
}

fn value(shown: &Shown) -> Value {
    serde_json::from_str(&shown.body).unwrap()
}

pub(crate) async fn create(kit: &Kit, members: Value) -> Shown {
    let (shown, is_new) = campaigns::create(&kit.store, Some("alice"), BY_ALICE, &terms(&members)).await.unwrap();
    assert!(is_new);
    shown
}

async fn change(kit: &Kit, campaign: &Shown, members: Value) -> Result<Shown, ChangeError> {
    campaigns::change(&kit.store, id(campaign), OF_ALICE, &ANY, &patch(&members), BY_ALICE).await
}

/// The faults of a change: pointers and details.
fn faults(outcome: Result<Shown, ChangeError>) -> Vec<String> {
    let Err(ChangeError::Faults(faults)) = outcome else { panic!("{outcome:?}") };
    faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
}

/// Runs a statement with the id of a campaign.
async fn sql(kit: &Kit, campaign: &Shown, statement: &str) {
    let statement = statement.replace("$1", &campaign.id.to_string());
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&kit.pool).await.unwrap();
}

/// Today's row of a campaign in UTC, with this money.
async fn day(kit: &Kit, campaign: &Shown, budget: &str, cap: &str, spent: i64, reserved: i64) {
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
            "external_id": "a.b", "unit_price": "0.000001", "total_budget": "999999999.999999", "daily_budget": null,
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
    for zone in ["Mars/Base", "CEST", "FOO+3", "europe/berlin", "utc"] {
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
async fn every_fault_of_a_change_at_once_and_then_nothing_is_changed() {
    let kit = Kit::new("ads_faults").await;
    let campaign = create(&kit, json!({"starts_at": "2026-01-02T00:00:00Z"})).await;
    let wrong = json!({
        "daily_budget": "6", "ends_at": "2026-01-01T00:00:00Z", "status": "draft", "timezone": "Mars/Base", "name": "n"
    });
    let faults = faults(change(&kit, &campaign, wrong).await);
    let pointers: Vec<_> = faults.iter().map(|fault| fault.split(' ').next().unwrap()).collect();
    assert_eq!(pointers, ["/daily_budget", "/ends_at", "/status", "/timezone"], "{faults:?}");
    assert_eq!(campaigns::get(&kit.store, id(&campaign), OF_ALICE).await.unwrap(), Some(campaign));
    assert_eq!(kit.number("SELECT count(*) FROM campaign_changes").await, 1);
}

#[tokio::test]
async fn a_change_has_a_new_revision_a_new_version_of_the_report_and_a_record() {
    let kit = Kit::new("ads_record").await;
    let campaign = create(&kit, json!({})).await;
    sql(&kit, &campaign, "UPDATE campaigns SET spent = 1000, reserved = 500, report_version = 40").await;
    let other = Actor { subject: None, request_id: Some("r-2") };
    let patch = patch(&json!({"name": "new", "daily_budget": null, "freq_cap_impressions_per_day": null}));
    let changed = campaigns::change(&kit.store, id(&campaign), Viewer::All, &ANY, &patch, other).await.unwrap();
    assert_eq!((changed.revision, changed.report_version), (2, 41));
    let body = value(&changed);
    assert_eq!((&body["name"], &body["daily_budget"]), (&json!("new"), &Value::Null));
    assert!(body["updated_at"].as_str() > body["created_at"].as_str());
    let moved = "SELECT count(*) FROM campaigns WHERE reported_at = updated_at AND updated_at > created_at";
    assert_eq!(kit.number(moved).await, 1);

    let changes = "SELECT concat_ws(' ', revision, coalesce(changed_by, '-'), request_id, spent, reserved), terms::text
                   FROM campaign_changes ORDER BY revision";
    let rows: Vec<(String, String)> = sqlx::query_as(changes).fetch_all(&kit.pool).await.unwrap();
    let [(first, terms_at_first), (second, terms_then)] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("1 alice r-1 0 0", "2 - r-2 1000 500"));
    let parsed = |text: &String| Terms::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap();
    assert_eq!(parsed(terms_at_first), terms(&json!({})));
    let after = json!({"name": "new", "daily_budget": null, "freq_cap_impressions_per_day": null});
    assert_eq!(parsed(terms_then), terms(&after));

    // A change without a difference leaves nothing.
    let same = campaigns::change(&kit.store, id(&campaign), Viewer::All, &ANY, &patch, other).await.unwrap();
    assert_eq!(same, changed);
    assert_eq!(kit.number("SELECT count(*) FROM campaign_changes").await, 2);
}

#[tokio::test]
async fn who_names_another_revision_changes_nothing() {
    let kit = Kit::new("ads_stale").await;
    let campaign = create(&kit, json!({})).await;
    let change = async |revisions: &[i64], name: &str| {
        let patch = patch(&json!({"name": name}));
        campaigns::change(
            &kit.store,
            id(&campaign),
            OF_ALICE,
            &|revision| revisions.contains(&revision),
            &patch,
            BY_ALICE,
        )
        .await
    };
    for stale in [&[][..], &[2], &[0, 2]] {
        assert!(matches!(change(stale, "stale").await, Err(ChangeError::Stale)), "{stale:?}");
    }
    assert_eq!(change(&[7, 1], "one").await.unwrap().revision, 2);
    assert!(matches!(change(&[1], "two").await, Err(ChangeError::Stale)));
    assert_eq!(value(&change(&[2], "two").await.unwrap())["name"], "two");
}

/// Of two who change the same revision, one does: the second one waits, and finds a newer revision.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_of_one_revision_one_is_stale() {
    let kit = Kit::new("ads_lost_update").await;
    let campaign = create(&kit, json!({})).await;
    let tasks = ["one", "two", "three"].map(|name| {
        let (store, id) = (kit.store.clone(), id(&campaign));
        tokio::spawn(async move {
            campaigns::change(&store, id, OF_ALICE, &|revision| revision == 1, &patch(&json!({"name": name})), BY_ALICE)
                .await
        })
    });
    let mut changed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => changed += 1,
            Err(error) => assert!(matches!(error, ChangeError::Stale), "{error:?}"),
        }
    }
    assert_eq!(changed, 1);
}

fn least(outcome: Result<Shown, ChangeError>) -> (&'static str, String) {
    let Err(ChangeError::BelowSpend { pointer, least }) = outcome else { panic!("{outcome:?}") };
    (pointer, least.to_string())
}

#[tokio::test]
async fn a_budget_is_lowered_to_what_is_spent_and_reserved_and_no_further() {
    let kit = Kit::new("ads_below").await;
    let campaign = create(&kit, json!({})).await;
    sql(&kit, &campaign, "UPDATE campaigns SET spent = 2500000000, reserved = 10000000").await;
    day(&kit, &campaign, "1000000000", "2", 300_000_000, 10_000_000).await;
    let change = async |members| change(&kit, &campaign, members).await;
    assert_eq!(least(change(json!({"total_budget": "2.509999"})).await), ("/total_budget", "2.51".into()));
    assert_eq!(least(change(json!({"daily_budget": "0.309999"})).await), ("/daily_budget", "0.31".into()));
    // Faults come first, and one refusal names one budget.
    assert_eq!(faults(change(json!({"total_budget": "0.5"})).await).len(), 1, "the day's budget is greater");
    let both = change(json!({"total_budget": "2", "daily_budget": "0.1"})).await;
    assert_eq!(least(both), ("/total_budget", "2.51".into()));
    assert_eq!(kit.number("SELECT count(*) FROM campaign_changes").await, 1);
    let lowered = change(json!({"total_budget": "2.51", "daily_budget": "0.31"})).await.unwrap();
    assert_eq!(value(&lowered)["remaining"], "0.01");
    assert_eq!(kit.number("SELECT budget FROM campaign_days").await, 310_000_000, "today has the new one");
    change(json!({"daily_budget": null})).await.unwrap();
    assert_eq!(kit.number("SELECT count(*) FROM campaign_days WHERE budget IS NULL").await, 1);
    assert_eq!(least(change(json!({"daily_budget": "0.3"})).await), ("/daily_budget", "0.31".into()));
}

/// What was spent on other days does not count for today's budget.
#[tokio::test]
async fn another_days_money_is_not_todays() {
    let kit = Kit::new("ads_yesterday").await;
    let campaign = create(&kit, json!({})).await;
    sql(&kit, &campaign, "UPDATE campaigns SET spent = 900000000").await;
    sql(&kit, &campaign, "INSERT INTO campaign_days VALUES ($1, '2020-01-01', 1000000000, 2, 900000000, 0)").await;
    change(&kit, &campaign, json!({"daily_budget": "0.01", "freq_cap_impressions_per_day": 9})).await.unwrap();
    let unchanged = "SELECT count(*) FROM campaign_days WHERE budget = 1000000000 AND cap = 2 AND day = '2020-01-01'";
    assert_eq!(kit.number(unchanged).await, 1);
    assert_eq!(kit.number("SELECT count(*) FROM campaign_days").await, 1, "no day is made");
}

#[tokio::test]
async fn the_day_keeps_its_greatest_cap() {
    let kit = Kit::new("ads_caps").await;
    let campaign = create(&kit, json!({})).await;
    day(&kit, &campaign, "1000000000", "2", 0, 0).await;
    for (cap, expected) in
        [(json!(1), Some(2)), (json!(5), Some(5)), (json!(3), Some(5)), (Value::Null, None), (json!(2), None)]
    {
        change(&kit, &campaign, json!({"freq_cap_impressions_per_day": cap})).await.unwrap();
        let found: Option<i32> =
            sqlx::query_scalar("SELECT cap FROM campaign_days").fetch_one(&kit.pool).await.unwrap();
        assert_eq!(found, expected, "after {cap}");
    }
}

/// A lease that is being granted while a budget is lowered: the change waits for it, and sees its money.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_sees_the_money_of_whoever_had_the_lock() {
    let kit = Kit::new("ads_lock").await;
    let campaign = create(&kit, json!({})).await;
    let mut lease = kit.pool.begin().await.unwrap();
    for statement in [
        "SELECT FROM campaigns FOR NO KEY UPDATE",
        "UPDATE campaigns SET reserved = 900000000",
        "INSERT INTO campaign_days SELECT 1, (now() AT TIME ZONE 'UTC')::date, 1000000000, 2, 0, 900000000",
    ] {
        sqlx::query(statement).execute(&mut *lease).await.unwrap();
    }
    let (store, id) = (kit.store.clone(), id(&campaign));
    let lowering = tokio::spawn(async move {
        let patch = patch(&json!({"daily_budget": "0.5"}));
        campaigns::change(&store, id, OF_ALICE, &ANY, &patch, BY_ALICE).await
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("it waits for the lease", async || kit.number(waits).await == 1).await;
    lease.commit().await.unwrap();
    assert_eq!(least(lowering.await.unwrap()), ("/daily_budget", "0.9".into()));
}

#[tokio::test]
async fn the_lifecycle_and_its_end() {
    let kit = Kit::new("ads_lifecycle").await;
    let campaign = create(&kit, json!({"status": "draft"})).await;
    let to = async |status| {
        let outcome =
            campaigns::change(&kit.store, id(&campaign), OF_ALICE, &ANY, &Patch::of_status(status), BY_ALICE).await;
        outcome.map(|shown| value(&shown)["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(to(Status::Paused).await.unwrap(), "paused");
    assert_eq!(to(Status::Active).await.unwrap(), "running");
    assert_eq!(to(Status::Active).await.unwrap(), "running", "again");
    assert!(matches!(to(Status::Draft).await, Err(ChangeError::Faults(_))));
    assert_eq!(to(Status::Ended).await.unwrap(), "ended");
    assert_eq!(to(Status::Ended).await.unwrap(), "ended", "again");
    for status in [Status::Draft, Status::Active, Status::Paused] {
        assert!(matches!(to(status).await, Err(ChangeError::Ended)), "{status:?}");
    }
    assert!(matches!(change(&kit, &campaign, json!({"name": "n"})).await, Err(ChangeError::Ended)));
}

#[tokio::test]
async fn what_a_campaign_does_now() {
    let kit = Kit::new("ads_states").await;
    let state = async |members: Value, money: Option<(i64, i64)>, of_day: Option<(i64, i64)>| {
        let campaign = create(&kit, members).await;
        if let Some((spent, reserved)) = money {
            let statement = format!("UPDATE campaigns SET spent = {spent}, reserved = {reserved} WHERE id = $1");
            sql(&kit, &campaign, &statement).await;
        }
        if let Some((spent, reserved)) = of_day {
            day(&kit, &campaign, "1000000000", "2", spent, reserved).await;
        }
        let shown = campaigns::get(&kit.store, id(&campaign), OF_ALICE).await.unwrap().unwrap();
        value(&shown)["state"].as_str().unwrap().to_owned()
    };
    let free = json!({"unit_price": "0"});
    let (past, future) = (json!("2020-01-01T00:00:00Z"), json!("2999-01-01T00:00:00Z"));
    for (expected, members, money, of_day) in [
        ("running", json!({}), None, None),
        ("draft", json!({"status": "draft"}), None, None),
        ("paused", json!({"status": "paused", "starts_at": future}), None, None),
        ("scheduled", json!({"starts_at": future}), None, None),
        ("running", json!({"starts_at": past, "ends_at": future}), None, None),
        ("ended", json!({"ends_at": past}), None, None),
        ("ended", json!({"ends_at": past, "status": "draft"}), None, None),
        // An impression costs 0.01.
        ("running", json!({}), Some((4_990_000_000, 0)), None),
        ("exhausted", json!({}), Some((4_990_000_001, 0)), None),
        ("exhausted", json!({}), Some((5_000_000_000, 0)), Some((1_000_000_000, 0))),
        ("running", json!({}), Some((0, 5_000_000_000)), None),
        ("running", json!({}), Some((990_000_000, 0)), Some((990_000_000, 0))),
        ("day_exhausted", json!({}), Some((990_000_001, 0)), Some((990_000_001, 0))),
        ("running", json!({}), Some((0, 1_000_000_000)), Some((0, 1_000_000_000))),
        ("running", free.clone(), Some((5_000_000_000, 0)), Some((1_000_000_000, 0))),
        ("day_exhausted", json!({"daily_budget": "0"}), None, None),
        ("day_exhausted", json!({"pricing_model": "cpc", "unit_price": "1.000001"}), None, None),
        ("exhausted", json!({"pricing_model": "cpa", "unit_price": "5.000001"}), None, None),
    ] {
        assert_eq!(state(members.clone(), money, of_day).await, expected, "{members} {money:?} {of_day:?}");
    }
}
