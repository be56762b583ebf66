//! Reads with PostgreSQL away.

use shared::event::DeviceId;

use crate::app::{TestApp, nowhere, problem};
use crate::read::tagged;

#[tokio::test]
async fn without_postgresql_hits_are_served_and_misses_are_not() {
    let database = nowhere("--database-url=postgres://127.0.0.1:PORT/none");
    let app = TestApp::with("no_postgres", &[&database]).await;
    let (cache, id): (_, DeviceId) = (app.cache(), "d".parse().unwrap());
    let lease = cache.lease(&id).await.unwrap();
    let body = r#"{"version":7,"id":"d","updated_at":"2026-01-02T03:04:05.678901Z"}"#;
    assert!(cache.fill(&id, &lease, Some(body)).await);

    let hit = app.get("d").await;
    assert_eq!((hit.status().as_u16(), tagged(&hit)), (200, 7));
    assert_eq!(hit.text().await.unwrap(), body);

    let miss = app.get("other").await;
    assert_eq!(miss.status(), 503);
    assert_eq!(miss.headers()["retry-after"], "1");
    assert_eq!(problem(miss).await["code"], "store_unavailable");
    let other = "other".parse().unwrap();
    assert_eq!(cache.get(&other).await, shared::cache::Lookup::Miss, "the lease was given back");

    let accepted = app.submit(r#"{"device_id":"d","payload":{}}"#).await;
    assert_eq!(accepted.status(), 202, "events do not need PostgreSQL");
}
