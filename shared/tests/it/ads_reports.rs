//! Reports of campaigns: what the tables hold is what the body says.

use std::sync::Arc;

use serde_json::{Value, json};
use shared::ads::CampaignId;
use shared::ads::queries::{By, MAX_REPORT_ROWS, Part, Report, erase_user, load_reports, report};
use time::Date;
use time::macros::date;

use crate::ads_campaigns::create;
use crate::prelude::*;

/// A campaign with two days of statistics. Of its three users one was there on both days.
async fn with_statistics(name: &str) -> Kit {
    let kit = Kit::new(name).await;
    create(&kit, json!({})).await;
    create(&kit, json!({"total_budget": "7"})).await;
    kit.sql(
        "UPDATE campaigns SET impressions = 7, clicks = 3, conversions = 1, spent = 70000001, value = 2500000000,
           users = 3, void = 2, report_version = 9, reported_at = '2026-03-04 05:06:07.000089Z' WHERE id = 1;
         INSERT INTO ad_stats (campaign_id, day, hour, impressions, clicks, conversions, users, spend, value, void)
         VALUES
           (1, '2026-03-02', 9, 2, 0, 0, 1, 20000000, 0, 0),
           (1, '2026-03-02', 23, 1, 3, 1, 1, 10000001, 2500000000, 1),
           (1, '2026-03-03', 0, 4, 0, 0, 2, 40000000, 0, 1),
           (2, '2026-03-03', 0, 1, 0, 0, 1, 10000000, 0, 0);
         INSERT INTO ad_user_days (campaign_id, user_id, day, impressions, clicks, conversions, minute_events) VALUES
           (1, 'a', '2026-03-02', 2, 0, 0, 0), (1, 'b', '2026-03-02', 1, 3, 1, 0),
           (1, 'b', '2026-03-03', 3, 0, 0, 0), (1, 'c', '2026-03-03', 1, 0, 0, 0), (2, 'd', '2026-03-03', 1, 0, 0, 0);
         INSERT INTO ad_invalid VALUES (1, 'user_rate', 4), (1, 'duplicate_click', 2), (2, 'user_agent', 1)",
    )
    .await;
    kit
}

fn campaign(id: i64) -> CampaignId {
    CampaignId::try_from(id).unwrap()
}

const WHOLE: &str = concat!(
    r#"{"version":9,"campaign_id":1,"impressions":7,"clicks":3,"conversions":1,"users":3,"ctr":"0.428571","#,
    r#""cvr":"0.333333","spend":"0.070000001","value":"2.5","remaining":"4.929999999","void":2,"#,
    r#""invalid":{"duplicate_click":2,"user_rate":4},"rows":["#,
    r#"{"day":"2026-03-02","impressions":3,"clicks":3,"conversions":1,"users":2,"ctr":"1","cvr":"0.333333","#,
    r#""spend":"0.030000001","value":"2.5","void":1},"#,
    r#"{"day":"2026-03-03","impressions":4,"clicks":0,"conversions":0,"users":2,"ctr":"0","cvr":"0","#,
    r#""spend":"0.04","value":"0","void":1}],"updated_at":"2026-03-04T05:06:07.000089Z"}"#
);

async fn part(kit: &Kit, id: i64, from: Option<Date>, to: Option<Date>, by: By) -> Value {
    let found = report(&kit.store, campaign(id), Part { from, to, by }).await.unwrap().unwrap();
    let Report::Whole(loaded) = found else { panic!("{found:?}") };
    assert_eq!(&*loaded.id, id.to_string());
    let body: Value = serde_json::from_str(&loaded.body).unwrap();
    assert_eq!(body["version"], loaded.version);
    assert!(loaded.body.starts_with(&format!("{{\"version\":{},", loaded.version)), "{}", loaded.body);
    assert!(loaded.body.ends_with("Z\"}"), "{}", loaded.body);
    body
}

#[tokio::test]
async fn the_whole_report_is_that_of_the_cache() {
    let kit = with_statistics("ads_report").await;
    let ids: Vec<Arc<str>> = ["1", "3", "2"].map(Into::into).to_vec();
    let mut loaded = load_reports(&kit.store, &ids).await.unwrap();
    loaded.sort_by_key(|loaded| loaded.id.clone());
    let [first, second] = &loaded[..] else { panic!("{loaded:?}") };
    assert_eq!((&*first.id, first.version, first.body.as_str()), ("1", 9, WHOLE));
    assert_eq!((&*second.id, second.version), ("2", 1));
    assert!(second.body.contains(r#""remaining":"7""#) && second.body.contains(r#""invalid":{"user_agent":1}"#));
    assert_eq!(load_reports(&kit.store, &ids[1..2]).await.unwrap(), []);

    let found = report(&kit.store, campaign(1), Part::default()).await.unwrap();
    assert_eq!(found, Some(Report::Whole(first.clone())), "byte for byte");
    assert_eq!(report(&kit.store, campaign(3), Part::default()).await.unwrap(), None);
}

#[tokio::test]
async fn a_campaign_without_events_has_an_empty_report() {
    let kit = Kit::new("ads_report_empty").await;
    create(&kit, json!({})).await;
    let body = part(&kit, 1, None, None, By::Day).await;
    let expected = json!({
        "version": 1, "campaign_id": 1, "impressions": 0, "clicks": 0, "conversions": 0, "users": 0, "ctr": "0",
        "cvr": "0", "spend": "0", "value": "0", "remaining": "5", "void": 0, "invalid": {}, "rows": [],
        "updated_at": body["updated_at"]
    });
    assert_eq!(body, expected);
    let ids = ["1".into()];
    let loaded = load_reports(&kit.store, &ids).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&loaded[0].body).unwrap(), expected);
}

#[tokio::test]
async fn a_part_has_its_own_sums_and_counts_each_of_its_users_once() {
    let kit = with_statistics("ads_report_part").await;
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    let (second, third) = (date!(2026 - 03 - 02), date!(2026 - 03 - 03));

    let body = part(&kit, 1, Some(third), None, By::Day).await;
    assert_eq!(body["rows"], json!([whole["rows"][1]]));
    let sums = ["impressions", "clicks", "conversions", "users", "spend", "void", "remaining"].map(|name| &body[name]);
    assert_eq!(sums, [&json!(4), &json!(0), &json!(0), &json!(2), &json!("0.04"), &json!(1), &json!("4.929999999")]);
    assert_eq!(body.get("invalid"), None, "invalid events have no day");

    let body = part(&kit, 1, Some(second), Some(third), By::Day).await;
    assert_eq!((&body["rows"], &body["users"], &body["spend"]), (&whole["rows"], &json!(3), &json!("0.070000001")));
    let body = part(&kit, 1, None, Some(second), By::Day).await;
    assert_eq!((&body["rows"], &body["users"]), (&json!([whole["rows"][0]]), &json!(2)));
    let body = part(&kit, 1, Some(date!(2026 - 03 - 04)), None, By::Day).await;
    assert_eq!((&body["rows"], &body["users"], &body["ctr"]), (&json!([]), &json!(0), &json!("0")));
    // The first and the last day that there are.
    let body = part(&kit, 1, Some(date!(0001 - 01 - 01)), Some(date!(9999 - 12 - 31)), By::Day).await;
    assert_eq!(body["rows"], whole["rows"]);
}

/// Who only sent events that do not count has a row, too.
#[tokio::test]
async fn only_who_has_an_event_that_counts_is_a_user_of_a_part() {
    let kit = with_statistics("ads_report_invalid").await;
    kit.sql(
        "INSERT INTO ad_user_days (campaign_id, user_id, day, impressions, clicks, conversions, minute_events)
         VALUES (1, 'x', '2026-03-02', 0, 0, 0, 1), (1, 'y', '2026-03-03', 0, 0, 0, 9)",
    )
    .await;
    for (from, to, users) in [(2, 2, 2), (3, 3, 2), (2, 3, 3)] {
        let day = |of| Date::from_calendar_date(2026, time::Month::March, of).ok();
        assert_eq!(part(&kit, 1, day(from), day(to), By::Day).await["users"], users, "{from} to {to}");
    }
}

/// The rows of a part count erased users, and it says no less.
#[tokio::test]
async fn a_part_has_no_fewer_users_than_one_of_its_rows_after_an_erasure() {
    let kit = with_statistics("ads_report_erased").await;
    let (second, third) = (Some(date!(2026 - 03 - 02)), Some(date!(2026 - 03 - 03)));
    let all = async |from, to| {
        let of = [By::Day, By::Hour].map(|by| part(&kit, 1, from, to, by));
        let [by_day, by_hour] = futures_util::future::join_all(of).await.try_into().unwrap();
        assert_eq!(by_day["users"], by_hour["users"]);
        (by_day["users"].as_i64().unwrap(), by_day["version"].as_i64().unwrap())
    };
    assert_eq!((all(second, second).await, all(second, third).await), ((2, 9), (3, 9)));
    let erased = erase_user(&kit.store, &"b".parse().unwrap()).await.unwrap();
    assert_eq!(erased.fences, [(campaign(1).cache_key(), 10)], "another version, for the bodies that changed");
    assert_eq!((all(second, second).await, all(second, third).await), ((2, 10), (2, 10)));
    erase_user(&kit.store, &"a".parse().unwrap()).await.unwrap();
    assert_eq!((all(second, second).await, all(second, third).await), ((2, 11), (2, 11)));
    let moved = "SELECT count(*) FROM campaigns WHERE reported_at > '2026-03-05'";
    assert_eq!(kit.number(moved).await, 2, "the second campaign was made later");
}

#[tokio::test]
async fn the_hours_of_the_days() {
    let kit = with_statistics("ads_report_hours").await;
    let body = part(&kit, 1, None, None, By::Hour).await;
    let keys: Vec<_> =
        body["rows"].as_array().unwrap().iter().map(|row| (row["day"].clone(), row["hour"].clone())).collect();
    let expected =
        [("2026-03-02", 9), ("2026-03-02", 23), ("2026-03-03", 0)].map(|(day, hour)| (json!(day), json!(hour)));
    assert_eq!(keys, expected);
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    for member in ["impressions", "users", "spend", "value", "void", "invalid", "ctr"] {
        assert_eq!(body[member], whole[member], "{member}");
    }
    let row = json!({
        "day": "2026-03-02", "hour": 23, "impressions": 1, "clicks": 3, "conversions": 1, "users": 1, "ctr": "3",
        "cvr": "0.333333", "spend": "0.010000001", "value": "2.5", "void": 1
    });
    assert_eq!(body["rows"][1], row);
}

#[tokio::test]
async fn a_report_with_too_many_rows_says_so() {
    let kit = Kit::new("ads_report_long").await;
    create(&kit, json!({})).await;
    kit.sql(
        "INSERT INTO ad_stats (campaign_id, day, hour, impressions)
         SELECT 1, '2020-01-01'::date + n / 24, n % 24, 1 FROM generate_series(0, 9999) AS n",
    )
    .await;
    let body = part(&kit, 1, None, None, By::Hour).await;
    assert_eq!((body["rows"].as_array().unwrap().len(), &body["impressions"]), (MAX_REPORT_ROWS, &json!(10_000)));
    kit.sql("INSERT INTO ad_stats (campaign_id, day, hour, impressions) VALUES (1, '2030-01-01', 0, 1)").await;
    let hours = Part { by: By::Hour, ..Part::default() };
    assert_eq!(report(&kit.store, campaign(1), hours).await.unwrap(), Some(Report::TooLong));
    let shorter = Part { from: Some(date!(2020 - 01 - 02)), ..hours };
    assert!(matches!(report(&kit.store, campaign(1), shorter).await.unwrap(), Some(Report::Whole(_))));
    assert_eq!(part(&kit, 1, None, None, By::Day).await["impressions"], 10_001);
}

/// A sum of values may be greater than an i64, and money is never rounded.
#[tokio::test]
async fn great_amounts_are_exact() {
    let kit = Kit::new("ads_report_exact").await;
    create(&kit, json!({"total_budget": "999999999.999999"})).await;
    kit.sql(
        "UPDATE campaigns SET spent = 999999999123456789, value = 99999999999999999999999999999999999999;
         INSERT INTO ad_stats (campaign_id, day, hour, spend, value, impressions, clicks) VALUES
           (1, '2026-03-02', 1, 999999999123456788, 99999999999999999999999999999999999998, 3, 2),
           (1, '2026-03-02', 2, 1, 1, 0, 0)",
    )
    .await;
    for body in [part(&kit, 1, None, None, By::Day).await, {
        let loaded = load_reports(&kit.store, &["1".into()]).await.unwrap();
        serde_json::from_str(&loaded[0].body).unwrap()
    }] {
        assert_eq!(body["rows"][0]["spend"], "999999999.123456789");
        assert_eq!(body["rows"][0]["value"], "99999999999999999999999999999.999999999");
        assert_eq!(body["rows"][0]["ctr"], "0.666667");
        assert_eq!(body["value"], "99999999999999999999999999999.999999999");
        assert_eq!(body["remaining"], "0.876542211");
    }
}
