//! `seek --to-time`: the log again, after PostgreSQL was restored to an earlier time.

use time::OffsetDateTime;

use crate::prelude::*;

/// Events of three devices, numbered on from `from`.
async fn report(kit: &Kit, numbers: std::ops::RangeInclusive<i32>) {
    for n in numbers {
        for device in ["a", "b", "c"] {
            kit.event(device, &n.to_string(), &format!(r#"{{"n":{n}}}"#)).await;
        }
    }
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

    // Further back than needed does no harm.
    let (moved, _) = kit.seek(backup - time::Duration::hours(1), &[]).await.unwrap();
    assert!(moved.iter().all(|m| m.to == 0));
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 27).await;
    for device in ["a", "b", "c"] {
        assert_eq!(kit.version(device).await, Some(9));
    }
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":9}'"#).await, 3);
    worker.stop().await.unwrap();
    let mut after = kit.committed().await;
    // A partition that never had a record stands at its beginning now.
    after.retain(|partition, _| before.contains_key(partition));
    assert_eq!(after, before);

    let (moved, _) = kit.seek(OffsetDateTime::now_utc(), &[]).await.unwrap();
    assert!(moved.iter().all(|m| m.from == Some(m.to) || m.from.is_none()), "nothing is later: the end");
    report(&kit, 10..=10).await;
    kit.seek(OffsetDateTime::now_utc(), &[]).await.unwrap();
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM resources WHERE version = 10", 3).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_a_backup_catches_up() {
    let kit = std::sync::Arc::new(Kit::new("restored", 2).await);
    let worker = kit.worker();
    let load = tokio::spawn({
        let kit = std::sync::Arc::clone(&kit);
        async move { report(&kit, 1..=150).await }
    });
    until("it works", async || kit.count("SELECT count(*) FROM events").await > 60).await;
    let before = OffsetDateTime::now_utc() - time::Duration::minutes(1);
    // In the middle of the work, as backups are made.
    let backup = run("pg_dump", &["--no-owner", &kit.scope.database_url], b"").await;
    load.await.unwrap();
    kit.until("SELECT count(*) FROM events", 450).await;
    worker.stop().await.unwrap();

    // Restored into a database of another name, which the worker is given instead.
    let (server, name) = kit.scope.database_url.rsplit_once('/').unwrap();
    let restored = format!("{server}/{name}_r");
    let create = format!("CREATE DATABASE \"{name}_r\" TEMPLATE template0");
    run("psql", &["-q", &kit.scope.database_url, "-c", &create], b"").await;
    run("psql", &["-q", "-v", "ON_ERROR_STOP=1", &restored], &backup).await;
    let pool = sqlx::PgPool::connect(&restored).await.unwrap();
    let had: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
    assert!((60..450).contains(&had), "it is an earlier state: {had}");

    let scope = Scope { database_url: restored, ..kit.scope.clone() };
    kit.does(&["seek", "--to-time", &shared::runtime::rfc3339::format(before)]).await;
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

/// Runs a program of PostgreSQL's; gives what it wrote.
async fn run(program: &'static str, args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let input = input.to_vec();
    let run = move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        assert!(output.status.success(), "{program}: {}", output.status);
        output.stdout
    };
    blocking(run).await
}
