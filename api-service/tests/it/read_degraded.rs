//! Reads with PostgreSQL away, or Redis.

use std::time::{Duration, Instant};

use devstack::Redis;
use devstack::kit::blocking;
use shared::devices::DeviceId;
use sqlx::PgPool;

use crate::app::{TestApp, nowhere, problem};
use crate::read::{report, source, tagged, work};

#[tokio::test]
async fn without_postgresql_hits_are_served_and_misses_are_not() {
    let database = nowhere("--database-url=postgres://127.0.0.1:PORT/none");
    let app = TestApp::with("no_postgres", &[&database]).await;
    let (cache, id): (_, DeviceId) = (app.cache(), "d".parse().unwrap());
    let lease = cache.lease(&id.cache_key()).await.unwrap();
    let body = r#"{"version":7,"id":"d","updated_at":"2026-01-02T03:04:05.678901Z"}"#;
    assert!(cache.fill(&id.cache_key(), &lease, Some(body)).await);

    let hit = app.get("d").await;
    assert_eq!((hit.status().as_u16(), tagged(&hit)), (200, 7));
    assert_eq!(hit.text().await.unwrap(), body);

    let miss = app.get("other").await;
    assert_eq!(miss.status(), 503);
    assert_eq!(miss.headers()["retry-after"], "1");
    assert_eq!(problem(miss).await["code"], "store_unavailable");
    let other = "other".parse::<DeviceId>().unwrap().cache_key();
    assert_eq!(cache.get(&other).await, shared::cache::Lookup::Miss, "the lease was given back");

    let accepted = app.submit(r#"{"device_id":"d","payload":{}}"#).await;
    assert_eq!(accepted.status(), 202, "events do not need PostgreSQL");
}

/// Many who poll one device while Redis is of no use are one query at a time, and leave the pool, of four connections,
/// to others. So are those whose leases vanish meanwhile, by fences, evictions or a restart of Redis.
#[tokio::test]
async fn many_reads_of_one_resource_are_one_query_at_a_time_whatever_redis_does() {
    let full = blocking(|| Redis::start(&["--maxmemory", "1"]).unwrap()).await;
    let away = nowhere("--redis-url=redis://127.0.0.1:PORT");
    let forgetful = blocking(|| Redis::start(&[]).unwrap()).await;
    let mut connection =
        redis::Client::open(forgetful.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let url = |redis: &Redis| format!("--redis-url={}", redis.url());
    for (name, redis) in [("redis_away", away), ("redis_full", url(&full)), ("redis_forgets", url(&forgetful))] {
        let app = TestApp::with(name, &[&redis, "--redis-timeout=100ms"]).await;
        report(&app, "d", "{}").await;
        work(&app, 1).await;
        let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
        let lock = pool.begin_with("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE").await.unwrap();
        // They come in over a second: some of them behind each lease that is gone.
        let reads = futures_util::future::join_all((0..200).map(async |n: u64| {
            tokio::time::sleep(Duration::from_millis(5 * n)).await;
            app.get("d").await
        }));
        let watch = async {
            // Longer than anybody waits for a connection; all of it may pass without a look that shows more.
            let (mut most, until) = (0, Instant::now() + Duration::from_millis(2_500));
            while Instant::now() < until {
                let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'resources'::regclass";
                most = most.max(sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap());
                redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
            }
            lock.rollback().await.unwrap();
            most
        };
        let (answers, most) = tokio::join!(reads, watch);
        assert_eq!(most, 1, "{name}: queries at a time");
        for answer in answers {
            assert_eq!((answer.status().as_u16(), tagged(&answer)), (200, 1), "{name}: {}", source(&answer));
        }
    }
}
