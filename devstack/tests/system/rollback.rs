//! The current version starts and works on a schema that a later version has migrated.

use crate::prelude::*;

/// Changes that a later version may make while this one still runs: only additions.
const LATER: &str = "
    ALTER TABLE events ADD COLUMN later text;
    ALTER TABLE events ADD COLUMN later_default integer NOT NULL DEFAULT 7;
    ALTER TABLE resources ADD COLUMN later jsonb;
    CREATE TABLE later_things (id bigint PRIMARY KEY);
    CREATE INDEX later_index ON events (user_id);
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (9000, 'of a later version', true, '\\x00', 1)";

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_works_on_a_later_schema() {
    let system = System::start("rollback", &[]).await;
    let worker = system.worker();
    assert_eq!(system.post("d", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    system.until("the event is applied", async || system.read("d").await.0 == 1).await;
    system.sql(LATER).await;

    // As in a deployment: setup, then both services.
    let (done, said) = system.command(&["setup"], &[]).await;
    assert!(done, "{said}");
    let newest = system.sql("SELECT max(version) FROM _sqlx_migrations WHERE success").await;
    assert_eq!(newest, "9000", "what is newer is let be");
    worker.end().await;
    let worker = system.worker();
    let api = system.another_api();
    system.until("the worker is ready", async || worker.status().await == "ready").await;
    system.until("the API is ready", async || api.status().await == "ready").await;
    let event = event("d").id(2).payload(json!({"n": 2}));
    assert_eq!(system.send_to(&api, &event).await.unwrap().status(), 202);
    system.until("the next event is applied", async || system.read("d").await.0 == 2).await;
    let history: Value = system.get_from(&api, "d/events").await.unwrap().json().await.unwrap();
    assert_eq!(history["items"].as_array().unwrap().len(), 2);
    assert_eq!(system.dead_letters().await, 0);
    let (done, said) = system.command(&["forget", "d"], &[]).await;
    assert!(done, "{said}");
    worker.end().await;
}
