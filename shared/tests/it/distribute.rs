//! Distributing the tables. Citus itself is in no package registry, so its functions are stand-ins here, with the
//! signatures of its documentation.

use crate::prelude::*;

const GROUPS: [Colocated; 1] = [queries::DISTRIBUTED];

const CITUS: &str = r#"
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
  SELECT 99999, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.0';
CREATE TABLE calls (number serial, call text);
CREATE TABLE pg_dist_partition (logicalrelid regclass PRIMARY KEY, partkey text);
CREATE FUNCTION column_to_column_name(table_name regclass, column_var_text text) RETURNS text
  AS 'SELECT $2' LANGUAGE sql;
CREATE FUNCTION create_distributed_table(
    table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL) RETURNS void
  AS $$ INSERT INTO pg_dist_partition VALUES ($1, $2);
        INSERT INTO calls (call) VALUES (format('%s by %s beside %s', $1, $2, $4)) $$ LANGUAGE sql;
CREATE FUNCTION truncate_local_data_after_distributing_table(function_table regclass) RETURNS void
  AS $$ INSERT INTO calls (call) VALUES (format('truncate %s', $1)) $$ LANGUAGE sql;
"#;

async fn calls(kit: &Kit) -> Vec<String> {
    sqlx::query_scalar("SELECT call FROM calls ORDER BY number").fetch_all(&kit.pool).await.unwrap()
}

#[tokio::test]
async fn each_table_is_distributed_once_beside_the_first_of_its_group() {
    let kit = Kit::new("distribute").await;
    kit.sql(CITUS).await;
    kit.store.distribute(&GROUPS).await.unwrap();
    let expected = [
        "events by device_id beside none",
        "truncate events",
        "resources by id beside events",
        "truncate resources",
        "forgotten_devices by device_id beside resources",
        "truncate forgotten_devices",
    ];
    assert_eq!(calls(&kit).await, expected);

    // As after a command that ended halfway.
    kit.sql("DELETE FROM pg_dist_partition WHERE logicalrelid = 'resources'::regclass; TRUNCATE calls").await;
    kit.store.distribute(&GROUPS).await.unwrap();
    assert_eq!(calls(&kit).await, expected[2..4]);

    for (column, told) in [("'event_id'", "it is distributed by event_id"), ("NULL", "it is distributed by no column")]
    {
        let other = format!("UPDATE pg_dist_partition SET partkey = {column} WHERE logicalrelid = 'events'::regclass");
        sqlx::query(sqlx::AssertSqlSafe(other)).execute(&kit.pool).await.unwrap();
        let error = format!("{:#}", kit.store.distribute(&GROUPS).await.unwrap_err());
        assert!(error.starts_with(&format!("cannot distribute the table events: {told}, and must be")), "{error}");
    }
}

#[tokio::test]
async fn without_the_extension_nothing_is_distributed() {
    let kit = Kit::new("distribute_without").await;
    let error = kit.store.distribute(&GROUPS).await.unwrap_err().to_string();
    assert!(error.starts_with("nothing was distributed: the server of the database "), "{error}");
    assert!(error.contains("does not have the extension citus"), "{error}");
}

/// Rules of Citus: a unique index has the column by which its table is distributed, the columns of a group have one
/// type, and there is no foreign key to a table that stays on the coordinator.
#[tokio::test]
async fn the_tables_can_be_distributed() {
    const INDEXES_WITHOUT: &str = "
        SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass AND indisunique AND NOT (
          SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = $2) = ANY (indkey)";
    const UNIQUE: &str = "SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass AND indisunique";
    const KEYS: &str =
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND $1::text::regclass IN (conrelid, confrelid)";
    const TYPE: &str =
        "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2";
    let kit = Kit::new("distributable").await;
    for Distributed { table, column } in queries::DISTRIBUTED {
        let without: i64 =
            sqlx::query_scalar(INDEXES_WITHOUT).bind(table).bind(column).fetch_one(&kit.pool).await.unwrap();
        let unique: i64 = sqlx::query_scalar(UNIQUE).bind(table).fetch_one(&kit.pool).await.unwrap();
        let keys: i64 = sqlx::query_scalar(KEYS).bind(table).fetch_one(&kit.pool).await.unwrap();
        assert_eq!((without, unique, keys), (0, 1, 0), "{table}");
        let kind: String = sqlx::query_scalar(TYPE).bind(table).bind(column).fetch_one(&kit.pool).await.unwrap();
        assert_eq!(kind, "text", "{table}");
    }
}
