//! The list of resources: in the order of bytes, by prefix, and by an index, whatever the database's collation is.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgPool};

use crate::prelude::*;

/// Ids that no collation of a language has in the order of their bytes, or next to those with the same beginning.
const IDS: [&str; 14] = ["a", "A", "a-1", "a.1", "a_1", "a:1", "a10", "a2", "ab", "aB", "Ab", "b", "_", "a~"];

/// A store of a new database with this collation.
async fn collated(kit: &Kit, name: &str, collation: &str) -> (Store, PgPool) {
    let (server, database) = kit.scope.database_url.rsplit_once('/').unwrap();
    let other = format!("{database}_{name}");
    let create = format!("CREATE DATABASE \"{other}\" TEMPLATE template0 ENCODING 'UTF8' {collation}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&kit.pool).await.unwrap();
    let url = format!("{server}/{other}");
    let store = Store::open(&postgres(&url), "test").unwrap();
    store.migrate(&[shared::devices::queries::INDEXES]).await.unwrap();
    (store, PgPool::connect(&url).await.unwrap())
}

async fn insert(pool: &PgPool, ids: &str) {
    let sql = format!(
        r#"INSERT INTO resources (id, payload, version, event_id, accepted_at, updated_at, topic, partition, "offset", appended_at)
           SELECT id, '{{}}', 1, 'e', now(), now(), 't', 0, 0, now() FROM ({ids}) AS ids (id)"#
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// All ids with this prefix after `after`, read in pages of three.
async fn read(store: &Store, prefix: &str, after: &str) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), after.to_owned());
    loop {
        let page = queries::list(store, prefix, &after, 3).await.unwrap();
        let items = page.items.iter().map(|item| serde_json::from_str::<serde_json::Value>(item).unwrap());
        ids.extend(items.map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.next else { return ids };
        assert_eq!((page.items.len(), Some(&next)), (3, ids.last()));
        after = next;
    }
}

#[tokio::test]
async fn the_order_is_that_of_bytes_in_every_collation() {
    let kit = Kit::without_schema("list").await;
    let collations = [("c", "LOCALE 'C'"), ("icu", "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'")];
    for (name, collation) in collations {
        let (store, pool) = collated(&kit, name, collation).await;
        assert_eq!(read(&store, "", "").await, [""; 0]);
        insert(&pool, &IDS.map(|id| format!("SELECT '{id}'")).join(" UNION ALL ")).await;
        let all = BTreeSet::from(IDS);
        for prefix in ["", "a", "A", "a-", "a1", "ab", "b", "c", "a~"] {
            for after in ["", "0", "a", "a10", "a~", "b", "~"] {
                let expected: Vec<_> = all.iter().copied().filter(|id| id.starts_with(prefix) && *id > after).collect();
                assert_eq!(read(&store, prefix, after).await, expected, "{name}: {prefix:?} after {after:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_reads_its_part_of_the_index_and_no_more() {
    let kit = Kit::without_schema("list_index").await;
    let (store, pool) = collated(&kit, "icu", "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'").await;
    insert(&pool, "SELECT 'device-' || n FROM generate_series(1, 20000) AS n").await;
    sqlx::raw_sql("ANALYZE resources").execute(&pool).await.unwrap();
    for (prefix, after) in [("device-1", ""), ("", "device-77"), ("device-1", "device-19")] {
        assert_eq!(queries::list(&store, prefix, after, 10).await.unwrap().items.len(), 10);
    }
    // The statistics of a connection are written when it is idle or closed.
    store.close().await;
    let read = "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname = 'resources_listed'";
    eventually("the index is read", async || sqlx::query_scalar::<_, i64>(read).fetch_one(&pool).await.unwrap() >= 33)
        .await;
    let read: i64 = sqlx::query_scalar(read).fetch_one(&pool).await.unwrap();
    assert!((33..=40).contains(&read), "{read} entries for three pages of ten, and one more each");
}
