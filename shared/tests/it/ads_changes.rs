//! Changes of campaigns: every fault at once, revisions, and budgets that fit what is spent.

use bytes::Bytes;
use serde_json::{Value, json};
use shared::ads::queries::campaigns::{self, Actor, BelowSpend, ChangeError, Shown, Viewer};
use shared::ads::queries::erase_user;
use shared::ads::{Patch, Status, Terms};

use crate::ads_campaigns::{
    ANY, BY_ALICE, OF_ALICE, UNKNOWN, change, create, day, faults, id, patch, sql, terms, value,
};
use crate::prelude::*;

#[tokio::test]
async fn every_fault_of_a_change_at_once_and_then_nothing_is_changed() {
    let kit = Kit::new("ads_faults").await;
    let campaign = create(&kit, json!({"starts_at": "2026-01-02T00:00:00Z"})).await;
    let wrong = json!({
        "daily_budget": "6", "ends_at": "2026-01-01T00:00:00Z", "status": "draft", "timezone": "Mars/Base", "name": "",
        "unit_price": "1e2"
    });
    let faults = faults(change(&kit, &campaign, wrong).await);
    let pointers: Vec<_> = faults.iter().map(|fault| fault.split(' ').next().unwrap()).collect();
    let all = ["/name", "/unit_price", "/daily_budget", "/ends_at", "/status", "/timezone"];
    assert_eq!(pointers, all, "{faults:?}");
    assert_eq!(campaigns::get(&kit.store, id(&campaign), OF_ALICE).await.unwrap(), Some(campaign));
    assert_eq!(kit.number("SELECT count(*) FROM campaign_changes").await, 1);
}

#[tokio::test]
async fn a_change_has_a_new_revision_a_new_version_of_the_report_and_a_record() {
    let kit = Kit::new("ads_record").await;
    let campaign = create(&kit, json!({})).await;
    sql(&kit, &campaign, "UPDATE campaigns SET spent = 1000, reserved = 500, report_version = 40").await;
    let other = Actor { subject: None, request_id: Some("r-2"), cause: &UNKNOWN };
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

/// The budgets that are too low, and their least.
fn least(outcome: Result<Shown, ChangeError>) -> Vec<(&'static str, String)> {
    let Err(ChangeError::BelowSpend(budgets)) = outcome else { panic!("{outcome:?}") };
    budgets.into_iter().map(|BelowSpend { pointer, least }| (pointer, least.to_string())).collect()
}

#[tokio::test]
async fn a_budget_is_lowered_to_what_is_spent_and_reserved_and_no_further() {
    let kit = Kit::new("ads_below").await;
    let campaign = create(&kit, json!({})).await;
    sql(&kit, &campaign, "UPDATE campaigns SET spent = 2500000000, reserved = 10000000").await;
    day(&kit, &campaign, "1000000000", "2", 300_000_000, 10_000_000).await;
    let change = async |members| change(&kit, &campaign, members).await;
    assert_eq!(least(change(json!({"total_budget": "2.509999"})).await), [("/total_budget", "2.51".into())]);
    assert_eq!(least(change(json!({"daily_budget": "0.309999"})).await), [("/daily_budget", "0.31".into())]);
    let both = change(json!({"total_budget": "2", "daily_budget": "0.1"})).await;
    assert_eq!(least(both), [("/total_budget", "2.51".into()), ("/daily_budget", "0.31".into())]);
    // With another fault it is one of them.
    let too_low = |least: &str| format!("must be at least {least}, because of what is spent and reserved");
    let greater = "/daily_budget must not be greater than total_budget".to_owned();
    let total = format!("/total_budget {}", too_low("2.51"));
    assert_eq!(faults(change(json!({"total_budget": "0.5"})).await), [greater, total.clone()]);
    let all = faults(change(json!({"total_budget": "2", "daily_budget": "0.1", "name": ""})).await);
    let name = "/name must be 1 to 200 characters long".to_owned();
    assert_eq!(all, [name, total, format!("/daily_budget {}", too_low("0.31"))]);
    assert_eq!(kit.number("SELECT count(*) FROM campaign_changes").await, 1);
    let lowered = change(json!({"total_budget": "2.51", "daily_budget": "0.31"})).await.unwrap();
    assert_eq!(value(&lowered)["remaining"], "0.01");
    assert_eq!(kit.number("SELECT budget FROM campaign_days").await, 310_000_000, "today has the new one");
    change(json!({"daily_budget": null})).await.unwrap();
    assert_eq!(kit.number("SELECT count(*) FROM campaign_days WHERE budget IS NULL").await, 1);
    assert_eq!(least(change(json!({"daily_budget": "0.3"})).await), [("/daily_budget", "0.31".into())]);
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

/// Its sets are in Redis until the day after its last one.
#[tokio::test]
async fn an_erasure_finds_the_sets_of_a_cap_that_was_removed_lately() {
    let kit = Kit::new("ads_uncapped").await;
    let campaign = create(&kit, json!({})).await;
    kit.sql("UPDATE campaign_changes SET changed_at = now() - interval '10 days'").await;
    change(&kit, &campaign, json!({"freq_cap_impressions_per_day": null})).await.unwrap();
    let sets = async || {
        let erased = erase_user(&kit.store, &"u".parse().unwrap()).await.unwrap();
        erased.sets.into_iter().map(|(campaign, _)| campaign).collect::<Vec<_>>()
    };
    assert_eq!(sets().await, [1, 1, 1], "those of yesterday, today and tomorrow");
    change(&kit, &campaign, json!({"name": "n"})).await.unwrap();
    assert_eq!(sets().await, [1, 1, 1], "whatever was changed since");
    kit.sql("UPDATE campaign_changes SET changed_at = now() - interval '4 days' WHERE revision = 2").await;
    assert_eq!(sets().await, [0_i64; 0], "none is left");
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
    assert_eq!(least(lowering.await.unwrap()), [("/daily_budget", "0.9".into())]);
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

/// Time ends a campaign by its `ends_at`, which may be moved; its status ends it for good.
#[tokio::test]
async fn a_campaign_whose_end_has_passed_goes_on_if_the_end_is_moved() {
    let kit = Kit::new("ads_moved_end").await;
    let campaign = create(&kit, json!({"ends_at": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(value(&campaign)["state"], "ended");
    let named = change(&kit, &campaign, json!({"name": "n"})).await.unwrap();
    assert_eq!((&value(&named)["state"], &value(&named)["status"]), (&json!("ended"), &json!("active")));
    let moved = change(&kit, &campaign, json!({"ends_at": "2999-01-01T00:00:00Z"})).await.unwrap();
    assert_eq!(value(&moved)["state"], "running");
    change(&kit, &campaign, json!({"status": "ended"})).await.unwrap();
    let again = change(&kit, &campaign, json!({"ends_at": "2998-01-01T00:00:00Z"})).await;
    assert!(matches!(again, Err(ChangeError::Ended)), "{again:?}");
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
