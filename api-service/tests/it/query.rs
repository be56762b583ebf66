//! `POST /resources/query`: the states of several devices.

use std::sync::Arc;

use devstack::kit::event;

use crate::prelude::*;
use crate::read::{Held, report};

fn query(app: &TestApp, token: &str, ids: &[impl AsRef<str>]) -> RequestBuilder {
    let ids: Vec<_> = ids.iter().map(AsRef::as_ref).collect();
    let request = app.request("POST", "/resources/query").bearer_auth(token);
    request.header("content-type", "application/json").body(json!({"ids": ids}).to_string())
}

async fn answer(request: RequestBuilder) -> Value {
    let (status, headers, body) = checked(request.send().await.unwrap()).await;
    assert_eq!((status, &headers["content-type"]), (200, &"application/json".parse().unwrap()));
    serde_json::from_slice(&body).unwrap()
}

fn statuses(answer: &Value) -> Vec<u64> {
    answer["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect()
}

/// Reports one event of each device, and applies them.
async fn devices(app: &TestApp, ids: impl Iterator<Item = String>, payload: &str) {
    let events: Vec<_> = ids.map(|id| event(&id).payload(payload).json()).collect();
    for some in events.chunks(30) {
        let body = format!("[{}]", some.join(","));
        assert_eq!(batch(app, &admin(), "application/json", body).send().await.unwrap().status(), 202);
    }
    work(app, events.len()).await;
}

#[tokio::test]
async fn each_id_has_the_outcome_of_a_single_read() {
    let app = TestApp::start("query").await;
    devices(&app, ["a", "b"].map(str::to_owned).into_iter(), r#"{"x": [1.50]}"#).await;
    let asked = ["b", "none", "a", "ä", "", "a", "c d "];
    // From PostgreSQL, and then from Redis.
    for _ in 0..2 {
        let told = answer(query(&app, &user(), &asked)).await;
        assert_eq!(statuses(&told), [200, 404, 200, 404, 404, 200, 404]);
        assert_eq!(told["next"], Value::Null);
        for (item, id) in told["items"].as_array().unwrap().iter().zip(asked) {
            assert_eq!(item["id"], id);
            match item["status"].as_u64() {
                Some(200) => {
                    let single = app.get(id).await;
                    assert_eq!(item["etag"], single.headers()["etag"].to_str().unwrap());
                    assert_eq!(item["resource"], single.json::<Value>().await.unwrap());
                }
                _ => assert_eq!(item["code"], "resource_not_found"),
            }
        }
    }
    let text = query(&app, &user(), &["a"]).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&app.get("a").await.text().await.unwrap()), "byte for byte: {text}");
    assert_eq!(answer(query(&app, &user(), &[""; 0])).await, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn the_binding_to_devices_holds_for_each_id() {
    let app = TestApp::start("query_bound").await;
    devices(&app, ["mine", "other"].map(str::to_owned).into_iter(), "{}").await;
    let told = answer(query(&app, &token(&["device"], &["mine"]), &["other", "mine", "none"])).await;
    assert_eq!(statuses(&told), [403, 200, 403]);
    assert_eq!(told["items"][0], json!({"id": "other", "status": 403, "code": "device_not_allowed"}));
    let unbound = query(&app, &token(&["device"], &[]), &["mine"]).send().await.unwrap();
    is_refused(unbound, 403, "forbidden", None).await;
}

#[tokio::test]
async fn what_is_read_is_cached_and_many_readers_are_one_query_each() {
    let app = Arc::new(TestApp::start("query_join").await);
    let ids: Vec<_> = (0..500).map(|n| format!("d{n:03}")).collect();
    devices(&app, ids.iter().cloned(), "{}").await;
    let held = Held::hold(&app.scope).await;
    let pool = sqlx::PgPool::connect(&app.scope.database_url).await.unwrap();
    let ask = |ids: &[String]| tokio::spawn(query(&app, &user(), ids).send());
    let first = ask(&ids[..1]);
    held.until_one_waits().await;
    let others: Vec<_> = (0..20).map(|_| ask(&ids[..1])).collect();
    let single = crate::read::reading(&app, "d000");
    // That they wait is not visible; it is visible that none of them queries PostgreSQL.
    sleep(Duration::from_millis(300)).await;
    held.until_one_waits().await;
    held.release().await;
    for answer in others.into_iter().chain([first]) {
        let told: Value = answer.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!(statuses(&told), [200]);
    }
    assert_eq!(single.await.unwrap().headers()["cache-status"], "resource-cache; fwd=miss; collapsed");

    let told = answer(query(&app, &user(), &ids)).await;
    assert_eq!(statuses(&told), [200; 500]);
    // From now on PostgreSQL is not needed.
    sqlx::query("ALTER TABLE resources RENAME TO moved").execute(&pool).await.unwrap();
    assert_eq!(answer(query(&app, &user(), &ids)).await, told);
}

#[tokio::test]
async fn an_answer_ends_at_4_mib_with_the_ids_that_are_left() {
    let app = TestApp::start("query_large").await;
    let ids: Vec<_> = (0..40).map(|n| format!("d{n:02}")).collect();
    devices(&app, ids.iter().cloned(), &format!(r#"{{"x":"{}"}}"#, "y".repeat(250_000))).await;
    let (mut left, mut seen, mut pages) = (ids.clone(), Vec::new(), 0);
    while !left.is_empty() {
        let text = query(&app, &user(), &left).send().await.unwrap().text().await.unwrap();
        assert!(text.len() < 4 * 1024 * 1024 + 1_000, "{}", text.len());
        let told: Value = serde_json::from_str(&text).unwrap();
        let items = told["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["status"] == 200));
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        left = told["next"].as_array().into_iter().flatten().map(|id| id.as_str().unwrap().to_owned()).collect();
        pages += 1;
    }
    assert_eq!((seen, pages), (ids.clone(), 3));

    // Large answers have their memory until they are read, as those of other reads.
    let mut held = app.backbone.answers.empty();
    held.cover(app.backbone.answers.left() - 1_500_000).unwrap();
    is_refused(query(&app, &user(), &ids).send().await.unwrap(), 503, "overloaded", Some("1")).await;
    assert_eq!(statuses(&answer(query(&app, &user(), &ids[..2])).await), [200, 200]);
}

#[tokio::test]
async fn a_query_costs_a_read_for_each_id() {
    let settings = ["--rate-limit-reads-per-second=1", "--rate-limit-read-burst=10"];
    let app = TestApp::with("query_rate", &settings).await;
    let header = |response: &Response| response.headers()["ratelimit"].to_str().unwrap().to_owned();
    let of = |subject: &str| devstack::token::hs256(SECRET, subject, &["user"], &[], Duration::from_secs(60)).unwrap();
    let taken = query(&app, &of("alice"), &["a"; 8]).send().await.unwrap();
    assert_eq!((taken.status().as_u16(), header(&taken)), (200, r#""reads";r=2;t=8"#.to_owned()));
    checked(taken).await;
    let refused = query(&app, &of("alice"), &["a"; 8]).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(problem(refused).await["code"], "rate_limited");
    // What is no query, or asks for nothing, costs one.
    let bad = query(&app, &of("bob"), &["a"]).body("{}").send().await.unwrap();
    assert_eq!((bad.status().as_u16(), header(&bad)), (422, r#""reads";r=9;t=1"#.to_owned()));
    let none = query(&app, &of("carol"), &[""; 0]).send().await.unwrap();
    assert_eq!(header(&none), r#""reads";r=9;t=1"#);
    let refused = query(&app, &of("dave"), &["a"; 11]).send().await.unwrap();
    let refused = is_refused(refused, 413, "too_many_ids", None).await;
    assert_eq!(refused["detail"], "a subject may ask for up to 10 reads at once, and the request has 11");
    assert_eq!(query(&app, &of("dave"), &["a"; 10]).send().await.unwrap().status(), 200, "it has cost nothing");
}

#[tokio::test]
async fn ids_that_are_left_cost_nothing_until_they_are_answered() {
    // Nothing comes back meanwhile.
    let settings = ["--rate-limit-reads-per-second=1", "--rate-limit-read-burst=10000"];
    let app = TestApp::with("query_left", &settings).await;
    let ids: Vec<_> = (0..40).map(|n| format!("d{n:02}")).collect();
    devices(&app, ids.iter().cloned(), &format!(r#"{{"x":"{}"}}"#, "y".repeat(250_000))).await;
    let (start, mut left, mut seen) = (Instant::now(), ids, 0);
    while !left.is_empty() {
        let response = query(&app, &user(), &left).send().await.unwrap();
        let told = response.headers()["ratelimit"].to_str().unwrap().to_owned();
        let remaining: u64 = told.split(['=', ';']).nth(2).unwrap().parse().unwrap();
        let answer: Value = serde_json::from_slice(&checked(response).await.2).unwrap();
        seen += answer["items"].as_array().unwrap().len() as u64;
        let regained = start.elapsed().as_secs() + 1;
        assert!((10_000 - seen..=10_000 - seen + regained).contains(&remaining), "{told} after {seen}");
        left = answer["next"].as_array().into_iter().flatten().map(|id| id.as_str().unwrap().to_owned()).collect();
    }
    assert_eq!(seen, 40);
}

#[tokio::test]
async fn a_part_may_be_unavailable() {
    let app = TestApp::start("query_part").await;
    for device in ["hit", "miss"] {
        report(&app, device, "{}").await;
    }
    work(&app, 2).await;
    assert_eq!(app.get("hit").await.status(), 200);
    let pool = sqlx::PgPool::connect(&app.scope.database_url).await.unwrap();
    sqlx::query("ALTER TABLE resources RENAME TO moved").execute(&pool).await.unwrap();
    let told = answer(query(&app, &user(), &["miss", "hit"])).await;
    assert_eq!(statuses(&told), [503, 200]);
    assert_eq!(told["items"][0], json!({"id": "miss", "status": 503, "code": "store_unavailable"}));

    let redis = nowhere("--redis-url=redis://127.0.0.1:PORT");
    sqlx::query("ALTER TABLE moved RENAME TO resources").execute(&pool).await.unwrap();
    let away = TestApp::prepared(app.scope.clone(), &[&redis, "--redis-timeout=100ms"]).await;
    assert_eq!(statuses(&answer(query(&away, &user(), &["miss", "hit", "none"])).await), [200, 200, 404]);
}

#[tokio::test]
async fn a_compressed_query_is_taken_and_a_value_that_is_no_body_spoils_no_other() {
    let app = TestApp::start("query_packed").await;
    devices(&app, ["a", "b"].map(str::to_owned).into_iter(), "{}").await;
    let mut redis = crate::app::redis_at(&app.scope.endpoints.redis_url).await;
    let key = format!("{}resource:a", app.scope.cache_prefix);
    redis::cmd("SET").arg(key).arg(r#"{"version":7,"id":"#).exec_async(&mut redis).await.unwrap();
    let packed = zstd::encode_all(&br#"{"ids":["a","b"]}"#[..], 3).unwrap();
    let request = query(&app, &user(), &["x"]).header("content-encoding", "zstd").body(packed);
    let told = answer(request).await;
    assert_eq!(statuses(&told), [500, 200]);
}
