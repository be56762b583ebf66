//! Reports of campaigns: from the cache, and their forms.

use shared::ads::CampaignId;
use shared::cache::{CacheKey, Lookup};
use sqlx::PgPool;

use crate::ads_campaigns::{As, advertiser, campaign, demo, sql};
use crate::prelude::*;

fn report_key() -> CacheKey {
    CampaignId::try_from(1).unwrap().cache_key()
}

const STATISTICS: &str = "
    UPDATE campaigns SET impressions = 3, clicks = 1, spent = 30000000, users = 2, report_version = report_version + 1,
                         reported_at = now();
    INSERT INTO ad_stats (campaign_id, day, hour, impressions, clicks, users, spend)
      VALUES (1, '2026-03-02', 9, 2, 1, 1, 20000000), (1, '2026-03-03', 10, 1, 0, 1, 10000000)";

#[tokio::test]
async fn the_whole_report_comes_from_the_cache_and_a_change_reaches_it() {
    let app = TestApp::start("ads_report").await;
    let alice = As(&app, Some(advertiser("alice")));
    let id = alice.create(&demo()).await["id"].clone();
    sql(&app, STATISTICS).await;
    let source = |headers: &reqwest::header::HeaderMap| headers["cache-status"].to_str().unwrap().to_owned();
    let (status, headers, report) = alice.get("/report/campaign/1").await;
    assert_eq!((status, source(&headers)), (200, "resource-cache; fwd=miss; stored".into()));
    assert_eq!((&report["version"], &report["remaining"]), (&json!(2), &json!("4.97")));
    assert_eq!(headers["vary"], "accept");
    let tag = headers["etag"].clone();
    let (_, headers, again) = alice.get("/report/campaign/1/?by=day").await;
    assert_eq!((source(&headers), again), ("resource-cache; hit".into(), report));
    let fresh = alice.call("GET /report/campaign/1").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(checked(fresh).await.0, 304);

    // The budget is in the report.
    campaign(alice.patch(&id, Some("*"), &json!({"total_budget": "6"})).await, 200, "\"2\"").await;
    let changed = alice.call("GET /report/campaign/1").header("if-none-match", &tag).send().await.unwrap();
    let (status, headers, body) = checked(changed).await;
    assert_eq!((status, source(&headers)), (200, "resource-cache; hit".into()), "the fence put the new body in");
    let report: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&report["version"], &report["remaining"]), (&json!(3), &json!("5.97")));
    let Lookup::Hit(_) = app.cache().get(&report_key()).await else { panic!("it is not in the cache") };
}

/// The request may end at any time; what it has begun is finished, and fenced.
#[tokio::test]
async fn a_change_whose_caller_is_gone_reaches_the_cache_all_the_same() {
    let app = TestApp::start("ads_gone").await;
    let alice = As(&app, Some(advertiser("alice")));
    alice.create(&demo()).await;
    assert_eq!(alice.get("/report/campaign/1").await.2["remaining"], "5");
    // It waits for the campaign's row.
    let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM campaigns FOR UPDATE").execute(&mut *held).await.unwrap();
    let (request, waits) = (
        alice.call("PATCH /campaigns/1").header("if-match", "*").header("content-type", "application/json"),
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    let request = tokio::spawn(request.body(r#"{"total_budget":"6"}"#).send());
    until("it waits", async || sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    held.commit().await.unwrap();
    until("the report is new", async || alice.get("/report/campaign/1").await.2["remaining"] == "6").await;
}

#[tokio::test]
async fn parts_of_a_report_and_csv_come_from_postgresql() {
    let app = TestApp::start("ads_report_part").await;
    let alice = As(&app, Some(advertiser("alice")));
    alice.create(&demo()).await;
    sql(&app, STATISTICS).await;
    let whole = alice.get("/report/campaign/1").await.2;
    let (status, headers, part) = alice.get("/report/campaign/1?from=2026-03-03&to=2026-03-03").await;
    assert_eq!((status, headers.contains_key("cache-status")), (200, false));
    assert_eq!((&part["rows"], &part["impressions"]), (&json!([whole["rows"][1]]), &json!(1)));
    assert_eq!(part.get("invalid"), None);
    let hours = alice.get("/report/campaign/1?by=hour").await.2;
    assert_eq!((&hours["rows"][0]["hour"], &hours["invalid"]), (&json!(9), &json!({})));
    for (query, detail) in [
        ("from=2026-03-04&to=2026-03-03", "from must not be later than to"),
        ("from=yesterday", "from must be a date, such as 2026-01-31"),
        ("by=week", "by must be day or hour"),
    ] {
        let refused = alice.call(&format!("GET /report/campaign/1?{query}")).send().await.unwrap();
        assert_eq!(problem(refused).await["detail"], detail);
    }

    let csv = async |query: &str, tag: Option<&str>| {
        let mut request = alice.call(&format!("GET /report/campaign/1{query}")).header("accept", "text/csv");
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let (status, headers, body) = checked(request.send().await.unwrap()).await;
        (status, headers["etag"].to_str().unwrap().to_owned(), String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, tag, text) = csv("", None).await;
    let columns = r#""impressions","clicks","conversions","users","ctr","cvr","spend","value","void""#;
    let rows = "\"2026-03-02\",2,1,0,1,0.5,0,0.02,0,0\r\n\"2026-03-03\",1,0,0,1,0,0,0.01,0,0\r\n";
    assert_eq!((status, text), (200, format!("\"day\",{columns}\r\n{rows}")));
    assert_eq!(headers["etag"].to_str().unwrap().trim_end_matches('"'), tag.trim_end_matches("-csv\""), "one version");
    assert_eq!(csv("", Some(&tag)).await, (304, tag.clone(), String::new()));
    assert_eq!(csv("", Some(headers["etag"].to_str().unwrap())).await.0, 200, "that was the JSON");
    let json = alice.call("GET /report/campaign/1").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(checked(json).await.0, 200, "that was the CSV");
    let (_, _, text) = csv("/?by=hour&from=2026-03-03", None).await;
    assert_eq!(text, format!("\"day\",\"hour\",{columns}\r\n\"2026-03-03\",10,1,0,0,1,0,0,0.01,0,0\r\n"));
    let part = alice.call("GET /report/campaign/1?by=hour").header("if-none-match", &headers["etag"]);
    assert_eq!(checked(part.send().await.unwrap()).await.0, 304, "its version is that of the report");
}

#[tokio::test]
async fn without_postgresql_a_report_that_is_cached_can_still_be_read() {
    let app = TestApp::start("ads_away").await;
    let alice = As(&app, Some(advertiser("alice")));
    alice.create(&demo()).await;
    alice.get("/report/campaign/1").await;
    app.backbone.store.close().await;
    assert_eq!(alice.get("/report/campaign/1").await.0, 200, "the owner is remembered, too");
    for call in [
        "GET /campaigns",
        "GET /campaigns/1",
        "POST /campaigns/1/pause",
        "GET /report/campaign/1?by=hour",
        "GET /report/campaign/2",
    ] {
        let refused = alice.call(call).send().await.unwrap();
        is_refused(refused, 503, "store_unavailable", Some("1")).await;
    }
    is_refused(alice.send("POST /campaigns", &demo()).await, 503, "store_unavailable", Some("1")).await;
    // The faults that are known without it are reported.
    let refused = alice.send("POST /campaigns", &json!({"timezone": "Mars/Base"})).await;
    is_refused(refused, 422, "invalid_campaign", None).await;
}
