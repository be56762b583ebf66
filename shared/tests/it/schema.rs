//! Migrations: safe to repeat, and no obstacle to a rollback.

use sqlx::PgPool;

use crate::migrations::{ROW, as_of};
use crate::prelude::*;

#[tokio::test]
async fn the_services_wait_for_the_schema_they_need_and_bear_a_newer_one() {
    let kit = Kit::without_schema("schema").await;
    let missing = kit.store.check().await.unwrap_err();
    assert_eq!(missing.reason, "the schema is at version 0, and 10 is needed: run `worker-service setup`");
    kit.store.migrate(&[queries::INDEXES]).await.unwrap();
    kit.store.check().await.unwrap();
    kit.store.migrate(&[queries::INDEXES]).await.unwrap();

    kit.sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', true, '', 0)").await;
    kit.store.migrate(&[queries::INDEXES]).await.unwrap();
    kit.store.check().await.unwrap();
}

/// An existing table, which may have millions of rows, is not rewritten by the migration: old rows stay unchanged.
#[tokio::test]
async fn rows_of_before_have_no_time_of_writing_and_those_of_a_worker_of_before_get_one() {
    let kit = Kit::without_schema("recorded").await;
    as_of(&kit, &["0001_events_and_resources", "0002_forgotten", "0003_events_by_append"]).await;
    sqlx::query(ROW).bind("before").execute(&kit.pool).await.unwrap();
    let file = "SELECT pg_relation_filenode('events')::bigint";
    let node = kit.number(file).await;

    // Two concurrent setups, as from two workflows.
    let (one, other) = tokio::join!(kit.store.migrate(&[queries::INDEXES]), kit.store.migrate(&[queries::INDEXES]));
    one.unwrap();
    other.unwrap();
    assert_eq!(kit.number(file).await, node, "the table was not rewritten");
    sqlx::query(ROW).bind("after").execute(&kit.pool).await.unwrap();
    let recorded: Vec<(String, Option<bool>)> =
        sqlx::query_as("SELECT event_id, now() - recorded_at < '1 minute' FROM events ORDER BY event_id")
            .fetch_all(&kit.pool)
            .await
            .unwrap();
    assert_eq!(recorded, [("after".to_owned(), Some(true)), ("before".to_owned(), None)]);
    const VALID: &str = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('events_written')";
    assert_eq!(sqlx::query_scalar::<_, bool>(VALID).fetch_optional(&kit.pool).await.unwrap(), Some(true));

    // An invalid index, as an interrupted setup leaves it.
    kit.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('events_written')").await;
    kit.store.migrate(&[queries::INDEXES]).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, bool>(VALID).fetch_optional(&kit.pool).await.unwrap(), Some(true));
}

#[tokio::test]
async fn only_a_database_of_unicode_is_taken() {
    let kit = Kit::without_schema("encoding").await;
    let (server, name) = kit.scope.database_url.rsplit_once('/').unwrap();
    for encoding in ["SQL_ASCII", "LATIN1", "EUC_JP"] {
        let other = format!("{name}_{}", encoding.to_lowercase());
        let create = format!("CREATE DATABASE \"{other}\" TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&kit.pool).await.unwrap();
        let url = format!("{server}/{other}");
        let store = Store::open(&postgres(&url), "test").unwrap();
        let expected = format!("the encoding of the database {other} is {encoding}, and UTF8 is needed");
        let said = [
            store.migrate(&[queries::INDEXES]).await.unwrap_err().to_string(),
            // The check does not depend on the tables.
            store.check().await.unwrap_err().to_string(),
        ];
        assert!(said.iter().all(|said| said.contains(&expected)), "{said:?}");
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&PgPool::connect(&url).await.unwrap())
            .await
            .unwrap();
        assert_eq!(tables, 0, "nothing was made there");
    }
}

/// PostgreSQL's data has other credentials, as in an old volume of Docker Compose.
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
        let store = Store::open(&postgres(&url), "test").unwrap();
        let said = format!("{:#}", store.migrate(&[queries::INDEXES]).await.unwrap_err());
        assert!(said.contains("`docker compose down --volumes --remove-orphans`"), "{said}");
        assert!(said.contains(cause), "{said}");
    }
}
