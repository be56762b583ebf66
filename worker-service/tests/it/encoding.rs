//! A database whose encoding cannot hold every event is reported by name, and nothing is applied.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_encoding_is_refused_by_name_by_setup_and_worker() {
    let kit = Kit::new("ascii", 1).await;
    let (server, name) = kit.scope.database_url.rsplit_once('/').unwrap();
    let other = format!("{name}_a");
    // With the tables of an earlier setup.
    let create = format!("CREATE DATABASE \"{other}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    kit.sql(sqlx::AssertSqlSafe(create)).await;
    let pool = sqlx::PgPool::connect(&format!("{server}/{other}")).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE _sqlx_migrations (version bigint, success boolean);
         INSERT INTO _sqlx_migrations VALUES (9999, true);
         CREATE TABLE paused_partitions (consumer_group text, topic text, partition int, reason text);",
    )
    .execute(&pool)
    .await
    .unwrap();
    let scope = Scope { database_url: format!("{server}/{other}"), ..kit.scope.clone() };
    let kit = kit.moved_to(scope);
    let expected = format!("the encoding of the database {other} is SQL_ASCII, and UTF8 is needed");

    kit.fails(&["setup"], &expected).await;
    kit.event("a", "1", r#"{"escaped":"\u00e9"}"#).await;
    let worker = kit.process().await;
    until("readiness says why", async || {
        let (status, page) = worker.ready().await;
        status == 503 && page.to_string().contains(&expected)
    })
    .await;
    // Another thread writes the log.
    until("the log, too", async || worker.service.log().contains(&expected)).await;
    assert_eq!(kit.committed().await[&0], 0, "it did not join the group");
    worker.end().await;
}
