//! Migrations of a database with concurrent writers, which do not wait for long.

use sqlx::AssertSqlSafe;
use tokio::time::timeout;

use crate::prelude::*;

/// Inserts an event as a worker of any version does.
pub(crate) const ROW: &str = r#"INSERT INTO events (device_id, event_id, type, payload, accepted_at, occurred_at, topic, partition,
    "offset", appended_at, outcome) SELECT 'd', $1, 't', '{}', now(), now(), 't', 0, 0, now(), 'applied'"#;

/// A database as an earlier version left it, after only these migrations.
pub(crate) async fn as_of(kit: &Kit, migrations: &[&str]) {
    // Migrate first, so that sqlx writes the checksums, and then undo the migrations.
    kit.store.migrate(&[queries::INDEXES]).await.unwrap();
    kit.sql("DROP TABLE events, resources, paused_partitions, forgotten_devices, event_expiry").await;
    kit.sql(
        "DROP TABLE campaigns, campaign_changes, campaign_days, ad_leases, ad_events, ad_user_days, ad_stats, ad_invalid,
         redis_incarnations, ad_forgotten_users, unsure_impressions",
    )
    .await;
    kit.sql("DROP TABLE sequences, outbox, outbox_relay, inbox, idempotency_keys").await;
    kit.sql("DROP TABLE videos, products, placements, validations, files, replaced_files, placement_campaigns").await;
    for name in migrations {
        let sql = std::fs::read_to_string(format!("{}/../migrations/{name}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&kit.pool).await.unwrap();
    }
    let newer = "DELETE FROM _sqlx_migrations WHERE version > $1";
    sqlx::query(newer).bind(i64::try_from(migrations.len()).unwrap()).execute(&kit.pool).await.unwrap();
}

async fn indexes(kit: &Kit) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
               WHERE indrelid = 'events'::regclass AND indisvalid ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(&kit.pool).await.unwrap()
}

/// Each migration needs a lock that writers hold, and each index waits for their transactions.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_transaction_holds_the_table_writers_wait_no_longer_than_the_lock_timeout() {
    let kit = Kit::without_schema("migrate_locked").await;
    as_of(&kit, &["0001_events_and_resources", "0002_forgotten"]).await;
    let mut holder = kit.pool.begin().await.unwrap();
    sqlx::query(ROW).bind("held").execute(&mut *holder).await.unwrap();

    let store = kit.store.clone();
    let setup = tokio::spawn(async move { store.migrate(&[queries::INDEXES]).await });
    let is_waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass";
    let mut slowest = Duration::ZERO;
    let mut waits = 0;
    let mut number = 0;
    // The migration tried the lock, timed out, and tried again.
    while waits < 3 {
        waits += kit.number(is_waiting).await.min(1);
        let from = Instant::now();
        number += 1;
        let written = sqlx::query(ROW).bind(number.to_string()).execute(&kit.pool);
        timeout(Duration::from_secs(30), written).await.expect("a writer waits for setup").unwrap();
        slowest = slowest.max(from.elapsed());
        assert!(!setup.is_finished(), "it cannot have its lock yet");
    }
    // The lock timeout, plus a margin for a busy machine.
    assert!(slowest < Duration::from_secs(3), "a writer waited for {slowest:?}");
    holder.commit().await.unwrap();
    timeout(Duration::from_secs(60), setup).await.expect("it can have it now").unwrap().unwrap();
    kit.store.check().await.unwrap();
    let now = ["events_appended", "events_history", "events_pkey", "events_written"];
    assert_eq!(indexes(&kit).await, now, "0003 was not run, and what it made in other databases is gone");
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY 1").fetch_all(&kit.pool).await.unwrap();
    assert_eq!(applied, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    // A second run has nothing to do, and neither has an earlier version's setup: the checksums are those of the files.
    kit.store.migrate(&[queries::INDEXES]).await.unwrap();
}

/// 0003 creates its index without `CONCURRENTLY`, and blocks writers meanwhile. From every earlier version it is only
/// recorded as applied, even if nothing blocks it.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_keeps_writers_out_is_not_run() {
    let files = ["0001_events_and_resources", "0002_forgotten"];
    for found in 1..=files.len() {
        let kit = Kit::without_schema(&format!("migrate_from_{found}")).await;
        as_of(&kit, &files[..found]).await;
        // If it ran, it would fail, because an index with its name exists.
        kit.sql("CREATE INDEX events_appended_at ON events (appended_at)").await;
        kit.store.migrate(&[queries::INDEXES]).await.unwrap();
        kit.store.check().await.unwrap();
        assert_eq!(indexes(&kit).await, ["events_appended", "events_history", "events_pkey", "events_written"]);
    }
}

/// An index is created while an older transaction is open and others write: it waits for the older one, and no writer
/// waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn while_an_index_is_made_writers_do_not_wait() {
    let kit = Kit::new("migrate_index").await;
    kit.sql("DROP INDEX events_written; CREATE INDEX events_recorded_at ON events USING brin (recorded_at)").await;
    let mut holder = kit.pool.begin().await.unwrap();
    sqlx::query(ROW).bind("held").execute(&mut *holder).await.unwrap();
    let begin = || {
        let store = kit.store.clone();
        tokio::spawn(async move { store.migrate(&[queries::INDEXES]).await })
    };
    // Waits for the transaction, before it creates the index or drops an invalid one.
    let is_waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted
                      AND locktype = 'virtualxid' AND datname = current_database()";
    let waits = async || {
        eventually("the index waits for the transaction", async || kit.number(is_waiting).await > 0).await;
    };
    // An interrupted creation fails with its reason: without the index nothing expires.
    let setup = begin();
    waits().await;
    let end = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
               WHERE query LIKE 'CREATE INDEX%' AND datname = current_database()";
    assert!(sqlx::query_scalar::<_, bool>(end).fetch_one(&kit.pool).await.unwrap());
    let error = format!("{:#}", timeout(Duration::from_secs(30), setup).await.unwrap().unwrap().unwrap_err());
    assert!(error.contains("the index events_written could not be created") && error.contains("57014"), "{error}");
    assert!(error.contains("run `worker-service setup` again"), "{error}");

    let setup = begin();
    waits().await;
    for number in 0..100 {
        let written = sqlx::query(ROW).bind(number.to_string()).execute(&kit.pool);
        timeout(Duration::from_secs(5), written).await.expect("a writer waits for setup").unwrap();
    }
    assert!(!setup.is_finished());
    assert!(indexes(&kit).await.contains(&"events_recorded_at".to_owned()), "dropped only when the others are there");
    holder.commit().await.unwrap();
    timeout(Duration::from_secs(60), setup).await.expect("it can go on now").unwrap().unwrap();
    assert_eq!(indexes(&kit).await, ["events_appended", "events_history", "events_pkey", "events_written"]);
}
