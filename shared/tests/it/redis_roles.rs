//! The host name of Redis leads to another server: the former primary is now a replica, and lags behind.

use redis::aio::MultiplexedConnection;
use shared::cache::Fence;

use crate::prelude::*;

/// Two servers, and a host name (a proxy) that leads to one of them.
struct Pair {
    kit: Kit,
    log: Log,
    /// The first primary.
    first: Redis,
    second: Redis,
    name: Proxy,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Pair {
    async fn new(test: &str) -> Self {
        let (log, guard) = Log::start();
        let kit = Kit::new(test).await;
        let (first, second) = (start(&[]).await, start(&[]).await);
        let name = Proxy::to(first.port).unwrap();
        Self { kit, log, first, second, name, _guard: guard }
    }

    /// A cache as in a separate service.
    async fn cache(&self) -> Cache {
        let url = format!("redis://127.0.0.1:{}", self.name.port);
        let mut config = self.kit.redis_config(&url);
        config.timeout = Duration::from_millis(500);
        let cache = Cache::open(&config, &[&RESOURCE]).unwrap();
        eventually("it is connected", async || cache.get(&key("none")).await == Lookup::Miss).await;
        cache
    }

    /// Writes the device's next event, and returns its fences.
    async fn write(&self, device: &str, n: i64) -> Vec<Fence> {
        self.kit.write(device, n).await.fences
    }

    async fn body(&self, device: &str) -> String {
        self.kit.body(device).await
    }

    /// Writes a device's first event, and returns a reader's cache that hits its body, and a worker's fencer.
    async fn services_with_a_cached(&self, device: &str) -> (Cache, Fencer) {
        let (api, worker) = (self.cache().await, self.cache().await);
        self.write(device, 1).await;
        let old = self.body(device).await;
        self.put_into_both(device, &old).await;
        assert_eq!(api.get(&key(device)).await, Lookup::Hit(old.into()));
        (api, Fencer::new(worker, self.kit.store.clone()))
    }

    async fn put_into_both(&self, device: &str, body: &str) {
        for server in [&self.first, &self.second] {
            let () = connection(server).await.set_ex(self.kit.key(device), body, 60).await.unwrap();
        }
    }

    /// The second server takes over. The first one becomes a replica without updates; its connections stay open.
    async fn swap(&self) {
        self.name.lead_to(self.second.port);
        replica_of(&mut connection(&self.first).await, "127.0.0.1", "1").await;
    }
}

async fn replica_of(connection: &mut MultiplexedConnection, host: &str, port: &str) {
    let () = redis::cmd("REPLICAOF").arg(host).arg(port).query_async(connection).await.unwrap();
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left_and_answers_no_read() {
    becomes_a_replica("role_swap", "yes").await;
}

/// Such a replica answers `MASTERDOWN` to every script, even one that does not write; the worker sends only scripts.
#[tokio::test]
async fn so_is_one_that_does_not_answer_with_old_data() {
    becomes_a_replica("role_swap_no_stale", "no").await;
}

async fn becomes_a_replica(test: &str, serves_stale_data: &str) {
    let pair = Pair::new(test).await;
    config_set(&mut connection(&pair.first).await, "replica-serve-stale-data", serves_stale_data).await;
    let (api, fencer) = pair.services_with_a_cached("a").await;
    let first_of_b = pair.write("b", 2).await;
    assert_eq!(fencer.fence(&first_of_b).await.outcomes, [FenceOutcome::Absent]);
    // The new primary has a body that the old one never had, so an absent key on the old one proves nothing.
    let body_of_b = pair.body("b").await;
    let () = connection(&pair.second).await.set_ex(pair.kit.key("b"), body_of_b, 60).await.unwrap();

    pair.swap().await;
    // The reader detects the replica without a write in between, and ignores its answers.
    assert_eq!(api.get(&id("a").cache_key()).await, Lookup::Unavailable);
    let second = pair.write("a", 3).await;
    let second_of_b = pair.write("b", 4).await;
    assert_eq!(fencer.fence(&second_of_b).await.outcomes, [FenceOutcome::Pending], "absent on a replica says nothing");
    assert_eq!(fencer.fence(&second).await.outcomes, [FenceOutcome::Pending]);
    assert!(fencer.finish(Duration::from_secs(30)).await, "it gets to the new primary");

    for device in ["a", "b"] {
        let new = Lookup::Hit(pair.body(device).await.into());
        let never_older = async || {
            let found = api.get(&id(device).cache_key()).await;
            assert!(found == new || found == Lookup::Unavailable, "{device}: {found:?}");
            found == new
        };
        eventually("the reader gets there too", never_older).await;
    }
    eventually("all is well", async || api.answering().await.all().is_ok()).await;
    assert_eq!(pair.log.count("Redis is a replica now"), 2, "one line a service");
}

#[tokio::test]
async fn a_replica_that_the_name_leads_to_for_a_while_is_told_and_left() {
    let pair = Pair::new("role_found").await;
    replica_of(&mut connection(&pair.first).await, "127.0.0.1", "1").await;
    // A service that starts meanwhile connects, and detects the replica.
    let cache = pair.kit.cache_at(&format!("redis://127.0.0.1:{}", pair.name.port));
    for _ in 0..5 {
        assert_eq!(cache.get(&key("a")).await, Lookup::Unavailable);
        assert_says(&cache, "read only replica").await;
    }
    pair.name.lead_to(pair.second.port);
    eventually("it gets to the primary", async || cache.get(&key("a")).await == Lookup::Miss).await;
    assert_eq!(pair.log.count("Redis is a replica now"), 1);
}

/// Without persistence too, a replica keeps the file of what it copied from its primary, and loads it when it is started
/// again, unless it has `rdb-del-sync-files`.
#[tokio::test]
async fn one_that_took_over_and_dies_does_not_come_back_with_what_it_had_copied() {
    let pair = Pair::new("role_copied").await;
    let (api, fencer) = pair.services_with_a_cached("a").await;
    pair.second.follow(&pair.first).unwrap();
    pair.first.hand_over(&pair.second).unwrap();
    pair.name.lead_to(pair.second.port);
    let second = pair.write("a", 2).await;
    fencer.fence(&second).await;
    assert!(fencer.finish(Duration::from_secs(30)).await, "it gets to the new primary");
    let new = Lookup::Hit(pair.body("a").await.into());
    eventually("the reader gets there too", async || api.get(&id("a").cache_key()).await == new).await;

    pair.second.kill().unwrap();
    pair.second.start().unwrap();
    let never_older = async || {
        let found = api.get(&id("a").cache_key()).await;
        assert!([Lookup::Miss, Lookup::Unavailable].contains(&found), "{found:?}");
        found == Lookup::Miss
    };
    eventually("it is back, and empty", never_older).await;
}

/// An API without reads, or a worker without events.
#[tokio::test]
async fn a_replica_is_left_by_one_that_only_asks_how_it_is() {
    let pair = Pair::new("role_idle").await;
    let cache = pair.cache().await;
    replica_of(&mut connection(&pair.first).await, "127.0.0.1", "1").await;
    assert!(cache.answering().await.all().is_err());
    pair.name.lead_to(pair.second.port);
    eventually("it is well", async || cache.answering().await.all().is_ok()).await;
}

#[tokio::test]
async fn where_writes_are_refused_for_long_another_connection_may_take_them() {
    let pair = Pair::new("role_refused").await;
    let cache = pair.cache().await;
    config_set(&mut connection(&pair.first).await, "min-replicas-to-write", "1").await;
    pair.name.lead_to(pair.second.port);
    assert_eq!(cache.lease(&key("a")).await, None);
    assert_says(&cache, "NOREPLICAS").await;
    eventually("it is connected anew", async || cache.lease(&key("a")).await.is_some()).await;
    assert_eq!(pair.log.count("NOREPLICAS"), 1);
}

/// The old server returns errors that say nothing about its role.
#[tokio::test]
async fn a_server_that_answers_nothing_but_errors_for_long_is_left() {
    for (name, trouble) in [
        ("role_no_room", &["CONFIG", "SET", "maxmemory", "1"][..]),
        ("role_no_right", &["ACL", "SETUSER", "default", "-set", "-evalsha", "-eval"]),
        ("role_no_set", &["ACL", "SETUSER", "default", "-set"]),
        ("role_busy", &["EVAL", "while true do end", "0"]),
    ] {
        let pair = Pair::new(name).await;
        let (api, worker) = (pair.cache().await, pair.cache().await);
        let fencer = Fencer::new(worker, pair.kit.store.clone());
        let versions = pair.write("a", 1).await;
        // Takes the lease of a new key each time.
        let leased = async || {
            let key = id(&format!("{:x}", fastrand::u64(..))).cache_key();
            let leased = api.lease(&key).await.is_some();
            // A reader without a lease does this; it needs no memory, and may succeed.
            leased || {
                api.at_least(&key, 1, r#"{"version":1,"id":"x"}"#).await;
                false
            }
        };
        config_set(&mut connection(&pair.first).await, "lua-time-limit", "10").await;
        let mut first = connection(&pair.first).await;
        let mut command = redis::cmd(trouble[0]);
        command.arg(&trouble[1..]);
        let troubled = tokio::spawn(async move { command.query_async::<redis::Value>(&mut first).await });
        eventually("it refuses", async || !leased().await).await;
        pair.name.lead_to(pair.second.port);
        eventually("the reader gets to the other one", leased).await;
        // A server without memory still executes fences.
        if !matches!(name, "role_no_room" | "role_no_set") {
            fencer.fence(&versions).await;
            assert!(fencer.finish(Duration::from_secs(30)).await, "{name}: the worker gets there too");
        }
        troubled.abort();
    }
}

/// While the process hangs, its kernel still acknowledges data.
#[tokio::test]
async fn a_primary_that_hangs_is_left_for_its_successor() {
    let pair = Pair::new("role_hangs").await;
    let (api, fencer) = pair.services_with_a_cached("a").await;
    pair.first.freeze().unwrap();
    pair.name.lead_to(pair.second.port);
    let second = pair.write("a", 2).await;
    assert_eq!(fencer.fence(&second).await.outcomes, [FenceOutcome::Pending]);
    assert!(fencer.finish(Duration::from_secs(30)).await, "the worker gets to the other one");
    let new = Lookup::Hit(pair.body("a").await.into());
    eventually("the reader gets there too", async || api.get(&id("a").cache_key()).await == new).await;
    eventually("all is well", async || api.answering().await.all().is_ok()).await;
    pair.first.thaw().unwrap();
}
