//! A Redis that is up but refuses: too many clients, failing saves, closed idle connections. No caller waits for it,
//! and the log has its error text.

use std::io::Write;
use std::sync::{Arc, Mutex};

use redis::aio::MultiplexedConnection;
use tracing::subscriber::DefaultGuard;

use crate::kit::redis_at;
use crate::prelude::*;

/// Collects the log of this thread, on which the whole test runs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(text).count()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) async fn start(more: &'static [&'static str]) -> Redis {
    blocking(|| Redis::start(more).unwrap()).await
}

/// A cache with a timeout of 200 ms.
fn cache(kit: &Kit, redis: &Redis) -> Cache {
    let mut config = kit.redis_config(&redis.url());
    config.timeout = Duration::from_millis(200);
    Cache::open(&config, &[&RESOURCE]).unwrap()
}

pub(crate) async fn connection(redis: &Redis) -> MultiplexedConnection {
    redis_at(&redis.url()).await
}

pub(crate) async fn config_set(connection: &mut MultiplexedConnection, name: &str, value: &str) {
    let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query_async(connection).await.unwrap();
}

#[tokio::test]
async fn one_with_too_many_clients_says_so_and_costs_nobody_more_than_the_timeout() {
    let (log, _guard) = Log::start();
    let kit = Kit::new("maxclients").await;
    let redis = start(&[]).await;
    let mut only = connection(&redis).await;
    config_set(&mut only, "maxclients", "1").await;

    let cache = cache(&kit, &redis);
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(cache.get(&key("a")).await, Lookup::Unavailable);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    const ANSWER: &str = "max number of clients reached";
    eventually("the log has its answer", async || log.count(ANSWER) > 0).await;
    assert_eq!((log.count("Redis is away"), log.count(ANSWER), log.count("no answer")), (1, 1, 0));
    // The check for the API's readiness, and that of an operator's command.
    assert_says(&cache, ANSWER).await;
    let why = cache.is_there().await.unwrap_err().to_string();
    assert!(why.contains(ANSWER), "{why}");

    config_set(&mut only, "maxclients", "100").await;
    eventually("it is back", async || cache.get(&key("a")).await == Lookup::Miss).await;
}

#[tokio::test]
async fn a_reason_that_is_not_found_in_time_is_looked_for_again() {
    looks_again_for_the_reason(false, "Redis is away").await;
}

#[tokio::test]
async fn so_is_that_of_a_cluster() {
    looks_again_for_the_reason(true, "no node of the Redis cluster is known for a key").await;
}

async fn looks_again_for_the_reason(cluster: bool, says: &str) {
    const REASON: &str = "Password authentication failed";
    let (log, _guard) = Log::start();
    let kit = Kit::new("late-reason").await;
    let redis = start(&["--user", "app", "on", ">right", "~*", "&*", "+@all"]).await;
    let (proxy, url) = Proxy::before(&redis.url()).unwrap();
    let mut config = kit.redis_config(&url.replacen("://", "://app:wrong@", 1));
    (config.timeout, config.cluster) = (Duration::from_millis(200), cluster);
    let cache = Cache::open(&config, &[&RESOURCE]).unwrap();
    let logs = async |text: &str| {
        assert_eq!(cache.get(&key("a")).await, Lookup::Unavailable);
        log.count(text) > 0
    };

    // As on a machine that is too busy to make a connection in time.
    proxy.hold_answers();
    eventually("the log says that it is away", async || logs(says).await).await;
    assert_eq!((log.count("no answer in time"), log.count(REASON)), (1, 0));
    proxy.mend();
    eventually("the log says why", async || logs(REASON).await).await;
    assert_says(&cache, REASON).await;
    assert_eq!((log.count(says), log.count(REASON)), (2, 1), "once with the reason");
}

#[tokio::test]
async fn one_that_cannot_save_serves_what_it_holds_and_fences_wait() {
    let (log, _guard) = Log::start();
    let kit = Kit::new("misconf").await;
    // Redis cannot create files in its directory, so saving fails.
    let redis = start(&["--save", "3600 1", "--dir", "/proc"]).await;
    let cache = cache(&kit, &redis);
    let mut direct = connection(&redis).await;
    let first = kit.write("a", 1).await;
    let body = r#"{"version":1,"id":"a"}"#;
    eventually("it is connected", async || cache.get(&key("a")).await == Lookup::Miss).await;
    let () = direct.set_ex(kit.key("a"), body, 60).await.unwrap();
    let _: redis::Value = redis::cmd("BGSAVE").query_async(&mut direct).await.unwrap();
    let refuses = async || {
        let mut direct = direct.clone();
        direct.set::<_, _, ()>("x", "x").await.is_err_and(|error| error.code() == Some("MISCONF"))
    };
    eventually("it could not save", refuses).await;

    // A reader continues: hits are served, and a miss is not filled.
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(cache.get(&key("a")).await, Lookup::Hit(body.into()));
        assert_eq!(cache.get(&key("b")).await, Lookup::Miss);
        assert_eq!(cache.lease(&key("b")).await, None);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    // The worker does not wait for it, and keeps its fences.
    let fencer = Fencer::new(cache.clone(), kit.store.clone());
    for n in 2..=20 {
        let versions = kit.write("a", n).await.fences;
        let asked = Instant::now();
        assert_eq!(fencer.fence(&versions).await.outcomes, [FenceOutcome::Pending]);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    assert_eq!((first.fences.len(), fencer.pending_len()), (1, 1));
    assert_eq!((log.count("Redis refuses commands"), log.count("MISCONF")), (1, 1), "once, in its own words");
    assert_eq!((log.count("Redis is away"), log.count("no answer")), (0, 0), "it is there");
    assert_says(&cache, "MISCONF").await;
    let why = cache.erase(&key("a")).await.unwrap_err().to_string();
    assert!(why.starts_with("Redis refuses writes: ") && why.contains("MISCONF"), "{why}");

    config_set(&mut direct, "stop-writes-on-bgsave-error", "no").await;
    let sent = fencer.finish(Duration::from_secs(30)).await;
    assert!(sent, "what was kept is sent: {}", String::from_utf8_lossy(&log.0.lock().unwrap()));
    let row = kit.body("a").await;
    assert_eq!(cache.get(&key("a")).await, Lookup::Hit(row.into()));
}

#[tokio::test]
async fn one_that_closes_idle_connections_costs_no_read() {
    let (log, _guard) = Log::start();
    let kit = Kit::new("timeout").await;
    let redis = start(&["--timeout", "1"]).await;
    let cache = cache(&kit, &redis);
    eventually("it is connected", async || cache.get(&key("a")).await == Lookup::Miss).await;
    let fencer = Fencer::new(cache.clone(), kit.store.clone());
    for n in 1..=3 {
        // The cache's idle connections are closed by then; each check uses a new connection.
        let alone = async || {
            let mut one = connection(&redis).await;
            let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut one).await.unwrap();
            list.lines().count() == 1
        };
        eventually("the idle ones are closed", alone).await;
        if n == 2 {
            let versions = kit.write("a", 1).await.fences;
            assert_eq!(fencer.fence(&versions).await.outcomes, [FenceOutcome::Absent]);
        } else {
            assert_eq!(cache.get(&key("a")).await, Lookup::Miss, "not as if it were away");
        }
    }
    assert_eq!(log.count("Redis is away"), 0);
}
