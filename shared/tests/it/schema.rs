//! Migrations: safe to repeat, and no obstacle to a rollback.

use shared::store::Store;
use sqlx::PgPool;

use crate::kit::{Kit, settings};

#[tokio::test]
async fn the_services_wait_for_the_schema_they_need_and_bear_a_newer_one() {
    let kit = Kit::without_schema("schema").await;
    let missing = kit.store.check().await.unwrap_err();
    assert_eq!(missing.message, "the schema is at version 0, and 3 is needed: run `worker-service setup`");
    kit.store.migrate().await.unwrap();
    kit.store.check().await.unwrap();
    kit.store.migrate().await.unwrap();

    let pool = PgPool::connect(&kit.scope.database_url).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', true, '', 0)")
        .execute(&pool)
        .await
        .unwrap();
    kit.store.migrate().await.unwrap();
    kit.store.check().await.unwrap();
}

/// Where PostgreSQL's data is of an earlier version, as in a volume of Docker Compose.
#[tokio::test]
async fn a_login_that_postgres_refuses_is_told_with_what_ends_the_old_data() {
    let kit = Kit::without_schema("login").await;
    let (server, _) = kit.scope.database_url.rsplit_once('/').unwrap();
    let (login, address) = server.split_once('@').unwrap();
    let scheme = login.split_once("://").unwrap().0;
    for (url, cause) in [
        (format!("{server}/no_such_database"), "database \"no_such_database\" does not exist"),
        (format!("{scheme}://no_such_user:password@{address}/postgres"), "\"no_such_user\""),
    ] {
        let store = Store::open(&settings(&url, &kit.scope.endpoints.redis_url, "").postgres, "test").unwrap();
        let said = format!("{:#}", store.migrate().await.unwrap_err());
        assert!(said.contains("`docker compose down --volumes --remove-orphans`"), "{said}");
        assert!(said.contains(cause), "{said}");
    }
}
