//! `GET /resources`: the ids of all resources, in pages.

use crate::prelude::*;
use crate::read::report;

async fn list(app: &TestApp, query: &str) -> (Value, Option<String>) {
    let response = app.request("GET", &format!("/resources{query}")).bearer_auth(user()).send().await.unwrap();
    let (status, headers, body) = checked(response).await;
    assert_eq!((status, &headers["cache-control"]), (200, &"private, no-cache".parse().unwrap()), "{query}");
    let link = headers.get("link").map(|link| link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned());
    (serde_json::from_slice(&body).unwrap(), link)
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_have_the_ids_in_their_order_with_version_and_times() {
    let app = TestApp::start("list").await;
    assert_eq!(list(&app, "").await, (json!({"items": [], "next": null}), None));
    for device in ["b", "a.1", "a-2", "A", "a_3", "a-10", "b"] {
        report(&app, device, "{}").await;
    }
    work(&app, 7).await;
    let (all, link) = list(&app, "").await;
    assert_eq!((ids(&all), &all["next"], link), (vec!["A", "a-10", "a-2", "a.1", "a_3", "b"], &Value::Null, None));
    let b: Value = app.get("b").await.json().await.unwrap();
    let expected = json!({"id": "b", "version": 2, "accepted_at": b["accepted_at"], "updated_at": b["updated_at"]});
    assert_eq!(all["items"][5], expected);

    let (page, link) = list(&app, "?limit=2&prefix=a").await;
    assert_eq!((ids(&page), &page["next"]), (vec!["a-10", "a-2"], &json!("a-2")));
    let link = link.unwrap();
    assert_eq!(link, "/resources?prefix=a&after=a-2&limit=2");
    let (page, link) = list(&app, link.strip_prefix("/resources").unwrap()).await;
    assert_eq!((ids(&page), link), (vec!["a.1", "a_3"], None), "it ends with the prefix");
    for (query, expected) in [
        ("?prefix=a-", vec!["a-10", "a-2"]),
        ("?prefix=a-2", vec!["a-2"]),
        ("?prefix=c", vec![]),
        ("?after=a.1", vec!["a_3", "b"]),
        ("?prefix=a&after=A", vec!["a-10", "a-2", "a.1", "a_3"]),
        ("?prefix=a&after=b&_=1", vec![]),
    ] {
        let (page, link) = list(&app, query).await;
        assert_eq!((ids(&page), link), (expected, None), "{query}");
    }
}

#[tokio::test]
async fn a_list_costs_one_read_and_needs_postgresql() {
    let nowhere = nowhere("--database-url=postgres://127.0.0.1:PORT/none");
    let app = TestApp::with("list_away", &[&*nowhere, "--rate-limit-reads-per-second=1"]).await;
    let list = || app.request("GET", "/resources").bearer_auth(user()).send();
    let refused = list().await.unwrap();
    assert_eq!(refused.headers()["ratelimit"], r#""reads";r=9;t=1"#);
    is_refused(refused, 503, "store_unavailable", Some("1")).await;
}
