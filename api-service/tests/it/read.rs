//! Redis → (miss) lease → PostgreSQL → fill while the lease stands.

use std::sync::Arc;

use devstack::Scope;
use devstack::kit::event;
use shared::cache::{Fencer, Lookup};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::task::JoinHandle;

use crate::prelude::*;

pub(crate) async fn report(app: &TestApp, device: &str, payload: &str) {
    let response = app.submit(event(device).payload(payload).json()).await;
    assert_eq!(response.status(), 202);
}

pub(crate) async fn cached(app: &TestApp, id: &DeviceId) -> Option<bytes::Bytes> {
    match app.cache().get(&id.cache_key()).await {
        Lookup::Hit(body) => Some(body),
        Lookup::Miss => None,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn reading(app: &Arc<TestApp>, id: &'static str) -> JoinHandle<reqwest::Response> {
    let app = Arc::clone(app);
    tokio::spawn(async move { app.get(id).await })
}

pub(crate) fn source(response: &reqwest::Response) -> &str {
    response.headers()["cache-status"].to_str().unwrap()
}

/// The version in the entity tag of a response; the rest of the tag is a time.
pub(crate) fn tagged(response: &reqwest::Response) -> i64 {
    let tag = response.headers()["etag"].to_str().unwrap();
    let (version, time) = tag.trim_matches('"').split_once('-').unwrap();
    assert_eq!((time.len(), tag.len() - version.len()), ("2026-01-02T03:04:05.678901Z".len(), time.len() + 3), "{tag}");
    version.parse().unwrap()
}

#[tokio::test]
async fn miss_hit_and_fence() {
    let app = TestApp::start("read").await;
    let id: DeviceId = "device-123".parse().unwrap();
    report(&app, "device-123", r#"{"status":"online"}"#).await;
    work(&app, 1).await;

    let first = app.get("device-123").await;
    assert_eq!(first.status(), 200);
    assert_eq!(source(&first), "resource-cache; fwd=miss; stored");
    assert_eq!(tagged(&first), 1);
    let tag = first.headers()["etag"].clone();
    let body = first.text().await.unwrap();
    assert!(
        body.starts_with(r#"{"version":1,"id":"device-123","payload":{"status": "online"},"event_id":""#),
        "{body}"
    );
    assert_eq!(body, queries::resource(&app.store(), &id).await.unwrap().unwrap().body, "what PostgreSQL renders");
    assert_eq!(cached(&app, &id).await.unwrap(), body, "what Redis holds");

    let second = app.get("device-123").await;
    assert_eq!(source(&second), "resource-cache; hit");
    assert_eq!(second.text().await.unwrap(), body);

    let head = app.request("HEAD", "/resource/device-123").bearer_auth(user()).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &tag));
    assert_eq!(head.headers()["content-length"], body.len().to_string().as_str());

    report(&app, "device-123", r#"{"status":"off"}"#).await;
    work(&app, 2).await;
    let newer = app.request("GET", "/resource/device-123").bearer_auth(user()).header("if-none-match", tag);
    let newer = newer.send().await.unwrap();
    assert_eq!((newer.status().as_u16(), tagged(&newer)), (200, 2));
    assert_eq!(source(&newer), "resource-cache; hit", "the fence put the new body in");
}

#[tokio::test]
async fn who_has_the_state_is_told_so_whatever_came_in_between() {
    let app = TestApp::start("read_fresh").await;
    report(&app, "d", "{}").await;
    work(&app, 1).await;
    let tag = app.get("d").await.headers()["etag"].to_str().unwrap().to_owned();
    let opened = tag.strip_suffix('"').unwrap();
    let cases = [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"x\", {tag}"), 304),
        ("*".to_owned(), 304),
        // Apache's mod_deflate, Jetty, and the same of others.
        (format!("{opened}-gzip\""), 304),
        (format!("W/\"6\" , W/{opened}-br\""), 304),
        (format!("{opened}--gzip\""), 304),
        (format!("{opened}-zstd\""), 304),
        (format!("{opened}-other\""), 200),
        (opened.to_owned(), 200),
        ("\"x\"".to_owned(), 200),
    ];
    for (list, expected) in cases {
        let request = app.request("GET", "/resource/d").bearer_auth(user()).header("if-none-match", &list);
        let (status, headers, body) = checked(request.send().await.unwrap()).await;
        assert_eq!((status, body.is_empty()), (expected, expected == 304), "{list}");
        assert_eq!(headers["etag"], tag.as_str(), "{list}");
    }
}

#[tokio::test]
async fn what_was_erased_is_not_confirmed_when_the_new_life_reaches_its_version() {
    let app = TestApp::start("read_forgotten").await;
    let id: DeviceId = "d".parse().unwrap();
    // The device has an event with the same id before and after it is erased.
    let report = async |state: &str| {
        let event = event("d").id("e-1").payload(format!(r#"{{"state":"{state}"}}"#));
        assert_eq!(app.submit(event.json()).await.status(), 202);
    };
    report("old").await;
    work(&app, 1).await;
    let tag = app.get("d").await.headers()["etag"].clone();
    queries::erase(&app.store(), &id, None).await.unwrap();
    app.cache().erase(&id.cache_key()).await.unwrap();
    report("new").await;
    work(&app, 2).await;
    let again = app.request("GET", "/resource/d").bearer_auth(user()).header("if-none-match", &tag);
    let again = again.send().await.unwrap();
    assert_eq!((again.status().as_u16(), tagged(&again)), (200, 1));
    assert_ne!(again.headers()["etag"], tag);
    assert!(again.text().await.unwrap().contains(r#""payload":{"state": "new"}"#));
}

#[tokio::test]
async fn a_resource_that_is_not_there_is_not_asked_for_again_and_comes_with_its_first_event() {
    let app = TestApp::start("read_missing").await;
    for expected in ["resource-cache; fwd=miss; stored", "resource-cache; hit"] {
        let response = app.get("new").await;
        assert_eq!(source(&response), expected);
        is_refused(response, 404, "resource_not_found", None).await;
    }
    report(&app, "new", "{}").await;
    work(&app, 1).await;
    assert_eq!(app.get("new").await.status(), 200, "the fence replaced what was kept of its absence");
}

/// Blocks every read of resources until it is dropped.
pub(crate) struct Held(PgConnection, PgPool);

impl Held {
    pub(crate) async fn hold(scope: &Scope) -> Self {
        let mut connection = PgConnection::connect(&scope.database_url).await.unwrap();
        for statement in ["BEGIN", "LOCK TABLE resources IN ACCESS EXCLUSIVE MODE"] {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
        Self(connection, PgPool::connect(&scope.database_url).await.unwrap())
    }

    async fn waiting(&self) -> i64 {
        let count = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'resources'::regclass";
        sqlx::query_scalar(count).fetch_one(&self.1).await.unwrap()
    }

    pub(crate) async fn until_one_waits(&self) {
        until("one waits", async || self.waiting().await == 1).await;
    }

    async fn release_after(mut self, statement: &'static str) {
        for statement in [statement, "COMMIT"] {
            sqlx::query(statement).execute(&mut self.0).await.unwrap();
        }
    }

    pub(crate) async fn release(self) {
        self.0.close().await.unwrap();
    }
}

#[tokio::test]
async fn who_finds_a_lease_of_this_process_joins_its_query() {
    let app = Arc::new(TestApp::start("read_join").await);
    report(&app, "d", "{}").await;
    work(&app, 1).await;
    let held = Held::hold(&app.scope).await;
    let read = || reading(&app, "d");
    let first = read();
    held.until_one_waits().await;
    let others: Vec<_> = (0..5).map(|_| read()).collect();
    // That they wait is not visible; it is visible that none of them queries PostgreSQL.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(held.waiting().await, 1);
    // The flight continues after the request that started it is gone.
    first.abort();
    held.release().await;
    for other in others {
        let response = other.await.unwrap();
        assert_eq!(source(&response), "resource-cache; fwd=miss; collapsed");
        assert_eq!(tagged(&response), 1);
    }
    assert_eq!(source(&app.get("d").await), "resource-cache; hit");
}

#[tokio::test]
async fn a_fence_between_lease_and_fill_keeps_the_older_body_out() {
    let app = Arc::new(TestApp::start("read_fence").await);
    let id: DeviceId = "d".parse().unwrap();
    report(&app, "d", "{}").await;
    work(&app, 1).await;
    let held = Held::hold(&app.scope).await;
    let reading = reading(&app, "d");
    held.until_one_waits().await;
    Fencer::new(app.cache(), app.store()).fence(&[(id.clone().cache_key(), 2)]).await;
    held.release().await;
    let response = reading.await.unwrap();
    assert_eq!((response.status().as_u16(), source(&response)), (200, "resource-cache; fwd=miss"));
    assert_eq!(cached(&app, &id).await, None, "it was read before the fence");
    assert_eq!(source(&app.get("d").await), "resource-cache; fwd=miss; stored");
}

#[tokio::test]
async fn whoever_is_done_first_fills_under_a_lease_of_another_process() {
    let app = TestApp::start("read_foreign").await;
    let id: DeviceId = "d".parse().unwrap();
    report(&app, "d", "{}").await;
    work(&app, 1).await;
    let lease = app.cache().lease(&id.cache_key()).await.unwrap();
    assert_eq!(source(&app.get("d").await), "resource-cache; fwd=miss; stored");
    assert!(!app.cache().fill(&id.cache_key(), &lease, Some("{\"version\":0}")).await, "the other one comes too late");
    assert_eq!(source(&app.get("d").await), "resource-cache; hit");
}

#[tokio::test]
async fn who_has_seen_a_version_sees_none_before_it_though_its_fence_is_still_to_come() {
    let app = Arc::new(TestApp::start("read_monotonic").await);
    let id: DeviceId = "d".parse().unwrap();
    report(&app, "d", "{}").await;
    work(&app, 1).await;
    // Another process has taken the lease and read version 1.
    let lease = app.cache().lease(&id.cache_key()).await.unwrap();
    let older = queries::resource(&app.store(), &id).await.unwrap().unwrap().body;
    let held = Held::hold(&app.scope).await;
    let reading = reading(&app, "d");
    held.until_one_waits().await;
    // The other process fills, and version 2 is written, before this read is answered.
    assert!(app.cache().fill(&id.cache_key(), &lease, Some(&older)).await);
    held.release_after("UPDATE resources SET version = 2").await;
    assert_eq!(tagged(&reading.await.unwrap()), 2);
    assert_eq!(tagged(&app.get("d").await), 2);
}
