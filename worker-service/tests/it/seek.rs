//! `seek --to-time`: reads the log again after PostgreSQL was restored to an earlier time.

use std::cell::Cell;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use worker_service::consumer::seek::Restored;

use crate::prelude::*;

/// Writes events with these numbers for each of three devices.
async fn report(kit: &Kit, numbers: std::ops::RangeInclusive<i64>) {
    join_all(["a", "b", "c"].map(|device| kit.events(device, numbers.clone()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_the_group_is_rewound_and_catches_up() {
    let (kit, worker) = Kit::with_worker("seek", 3).await;
    report(&kit, 1..=5).await;
    kit.until("SELECT count(*) FROM events", 15).await;
    kit.sql("CREATE TABLE e AS TABLE events; CREATE TABLE r AS TABLE resources").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let backup = OffsetDateTime::now_utc();
    tokio::time::sleep(Duration::from_millis(50)).await;
    report(&kit, 6..=9).await;
    kit.until("SELECT count(*) FROM events", 27).await;

    let refused = kit.seek(backup, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("has 1 members (state Stable). Stop all workers first"), "{refused}");
    worker.stop().await.unwrap();
    let before = kit.committed().await;

    let away = format!("--redis-url=redis://{}", nobody());
    assert_eq!(kit.seek(backup, &[&away]).await.unwrap_err().to_string(), "nothing was changed: Redis does not answer");
    let (dry, said) = kit.seek(backup, &["--dry-run"]).await.unwrap();
    assert!(said.ends_with("nothing was changed\n"), "{said}");
    assert_eq!(kit.committed().await, before);

    kit.sql("TRUNCATE events, resources; INSERT INTO events TABLE e; INSERT INTO resources TABLE r").await;
    let mut redis = kit.redis().await;
    let () = redis.set_ex(kit.key("a"), r#"{"version":9,"id":"a"}"#, 60).await.unwrap();
    let other = format!("other-{}", kit.key("a"));
    let () = redis.set_ex(&other, "x", 60).await.unwrap();
    let (moved, said) = kit.seek(backup, &[]).await.unwrap();
    assert_eq!(moved, dry);
    assert!(said.ends_with("1 cache entries deleted\n"), "{said}");
    assert_eq!(moved.iter().map(|m| m.from.unwrap_or(0) - m.to).sum::<i64>(), 12, "what came after the backup");
    let after = kit.committed().await;
    assert!(moved.iter().all(|m| after[&m.partition] == m.to));
    let (gone, stays): (Option<String>, Option<String>) =
        (redis.get(kit.key("a")).await.unwrap(), redis.get(&other).await.unwrap());
    assert_eq!((gone, stays.as_deref()), (None, Some("x")));

    // Rewinding further than needed is harmless.
    let (moved, _) = kit.seek(backup - time::Duration::hours(1), &[]).await.unwrap();
    assert!(moved.iter().all(|m| m.to == 0));
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 27).await;
    let last = r#"SELECT count(*) FROM resources WHERE version = 9 AND payload = '{"n":9}'"#;
    assert_eq!(kit.count(last).await, 3);
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await, before);

    let (moved, _) = kit.seek(OffsetDateTime::now_utc(), &[]).await.unwrap();
    assert!(moved.iter().all(|m| m.from == Some(m.to) || m.from.is_none()), "nothing is later: the end");
    report(&kit, 10..=10).await;
    kit.seek(OffsetDateTime::now_utc(), &[]).await.unwrap();
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM resources WHERE version = 10", 3).await;
    worker.stop().await.unwrap();
}

/// Writes a row that belongs to no partition.
fn note<'a>(restored: &'a Restored<'a>) -> BoxFuture<'a, anyhow::Result<()>> {
    async move { Ok(restored.store.pause(&restored.source.group, "noted", 0, "after a restore").await?) }.boxed()
}

fn fail<'a>(_: &'a Restored<'a>) -> BoxFuture<'a, anyhow::Result<()>> {
    std::future::ready(Err(anyhow::anyhow!("leases are open"))).boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_domain_does_after_a_restore_is_done_when_its_group_is_rewound() {
    let (kit, worker) = Kit::with_worker("after_restore", 1).await;
    kit.event("a", "1", "{}").await;
    kit.until_committed(0, 1).await;
    let (back, dry) = (&["--from-beginning"][..], &["--from-beginning", "--dry-run"][..]);
    let refused = kit.seek_by(back, &[note]).await.unwrap_err().to_string();
    assert!(refused.contains("Stop all workers first"), "{refused}");
    worker.stop().await.unwrap();
    let away = format!("--database-url=postgres://{}/d", nobody());
    let refused = kit.seek_by(&[back, &[away.as_str()]].concat(), &[note]).await.unwrap_err().to_string();
    assert_eq!(refused, "nothing was changed: PostgreSQL is not ready");
    let (_, said) = kit.seek_by(dry, &[note]).await.unwrap();
    assert!(said.ends_with("nothing was changed\n"), "{said}");
    let noted = async || kit.count("SELECT count(*) FROM paused_partitions WHERE topic = 'noted'").await;
    let mut redis = kit.redis().await;
    let () = redis.set_ex(kit.key("a"), r#"{"version":9,"id":"a"}"#, 60).await.unwrap();
    assert_eq!((noted().await, kit.committed().await[&0]), (0, 1));

    let failed = format!("{:#}", kit.seek_by(back, &[fail, note]).await.unwrap_err());
    let says = "the group is rewound, but the cache is not cleared: run the same command again: after the restore: leases are open";
    assert_eq!((failed.as_str(), noted().await, kit.committed().await[&0]), (says, 0, 0));
    let cached: Option<String> = redis.get(kit.key("a")).await.unwrap();
    assert!(cached.is_some(), "that comes last");
    let (_, said) = kit.seek_by(back, &[note, note]).await.unwrap();
    assert!(said.ends_with("1 cache entries deleted\n"), "{said}");
    let cached: Option<String> = redis.get(kit.key("a")).await.unwrap();
    assert_eq!((noted().await, cached), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_a_backup_catches_up() {
    let (kit, worker) = Kit::with_worker("restored", 2).await;
    // Restored into another database, which the next worker uses.
    let (server, name) = kit.scope.database_url.rsplit_once('/').unwrap();
    let restored = format!("{server}/{name}_r");
    kit.sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{name}_r\" TEMPLATE template0"))).await;
    let is_made = Cell::new(false);
    let backup = async {
        until("it works", async || kit.count("SELECT count(*) FROM events").await > 60).await;
        let before = OffsetDateTime::now_utc() - time::Duration::minutes(1);
        let mut backup = std::process::Command::new("bash");
        let command = r#"pg_dump --no-owner "$0" | psql --quiet --set ON_ERROR_STOP=1 "$1""#;
        backup.args(["-o", "pipefail", "-c", command, &kit.scope.database_url, &restored]);
        let said = run(backup).await;
        assert_eq!(said.status, 0, "{said:?}");
        is_made.set(true);
        before
    };
    // Under load, as backups are made, and beyond the backup.
    let load = async {
        let mut sent = 0;
        while !is_made.get() {
            report(&kit, sent + 1..=sent + 50).await;
            sent += 50;
        }
        report(&kit, sent + 1..=sent + 10).await;
        3 * (sent + 10)
    };
    let (sent, before) = tokio::join!(load, backup);
    kit.until("SELECT count(*) FROM events", sent).await;
    worker.stop().await.unwrap();

    let pool = sqlx::PgPool::connect(&restored).await.unwrap();
    let had: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
    assert!((60..sent).contains(&had), "it is an earlier state: {had}");

    let scope = Scope { database_url: restored, ..kit.scope.clone() };
    kit.succeeds(&["seek", "--to-time", &shared::runtime::rfc3339::format(before)]).await;
    let worker = Worker::start(&run_config(&scope)).unwrap();
    let rows = "SELECT string_agg(concat_ws(' ', device_id, event_id, payload, outcome, partition, \"offset\"), E'\n'
        ORDER BY device_id, event_id) FROM events";
    let states = "SELECT string_agg(concat_ws(' ', id, version, payload, event_id, partition, \"offset\"), E'\n'
        ORDER BY id) FROM resources";
    for what in [rows, states] {
        let whole: String = sqlx::query_scalar(what).fetch_one(&kit.pool).await.unwrap();
        let same = async || sqlx::query_scalar::<_, String>(what).fetch_one(&pool).await.unwrap() == whole;
        until("it is what was lost", same).await;
    }
    worker.stop().await.unwrap();
}
