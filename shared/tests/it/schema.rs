//! Migrations: safe to repeat, and no obstacle to a rollback.

use sqlx::PgPool;

use crate::kit::Kit;

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
