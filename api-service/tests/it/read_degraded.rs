//! Reads while PostgreSQL or Redis is down.

use devstack::Redis;
use sqlx::PgPool;

use crate::app::redis_at;
use crate::prelude::*;
use crate::read::{report, source, tagged};

/// While Redis does not help, many clients that poll one device cause one query at a time, and leave the pool of four
/// connections to others. That also holds when leases vanish, by fences, evictions or a restart of Redis.
#[tokio::test]
async fn many_reads_of_one_resource_are_one_query_at_a_time_whatever_redis_does() {
    let full = blocking(|| Redis::start(&["--maxmemory", "1"]).unwrap()).await;
    let away = nowhere("--redis-url=redis://127.0.0.1:PORT");
    let forgetful = blocking(|| Redis::start(&[]).unwrap()).await;
    let mut connection = redis_at(&forgetful.url()).await;
    let url = |redis: &Redis| format!("--redis-url={}", redis.url());
    for (name, redis) in [("redis_away", away), ("redis_full", url(&full)), ("redis_forgets", url(&forgetful))] {
        let app = TestApp::with(name, &[&redis, "--redis-timeout=100ms"]).await;
        report(&app, "d", "{}").await;
        work(&app, 1).await;
        let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
        let lock = pool.begin_with("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE").await.unwrap();
        // They arrive within a second, so that some follow each lease that vanishes.
        let reads = futures_util::future::join_all((0..200).map(async |n: u64| {
            tokio::time::sleep(Duration::from_millis(5 * n)).await;
            app.get("d").await
        }));
        let watch = async {
            // Longer than the timeout for a pool connection: no sample in this time may show more than one query.
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
