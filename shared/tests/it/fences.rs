//! Fences that are lost, late or repeated, and commands that Redis executes after the client timed out.

use shared::cache::Fence;

use crate::prelude::*;

/// A cache and a fencer whose connection to Redis goes through a proxy, so that it can be cut; the kit's own cache
/// connects directly.
struct Cut {
    kit: Kit,
    proxy: Proxy,
    cache: Cache,
    fencer: Fencer,
}

impl Cut {
    async fn new(name: &str) -> Self {
        let kit = Kit::new(name).await;
        let (proxy, url) = Proxy::before(&kit.scope.endpoints.redis_url).unwrap();
        let mut redis = kit.redis_config(&url);
        redis.timeout = Duration::from_millis(300);
        let cache = Cache::open(&redis, &[&RESOURCE]).unwrap();
        // Connect before the test cuts the connection.
        eventually("it is connected", async || cache.answering().await.all().is_ok()).await;
        let fencer = Fencer::new(cache.clone(), kit.store.clone());
        Self { kit, proxy, cache, fencer }
    }

    /// Writes the device's next event, without sending the fence.
    async fn write(&self, n: i64) -> Vec<Fence> {
        self.kit.write("a", n).await.fences
    }

    async fn body(&self) -> String {
        self.kit.body("a").await
    }

    /// Reads the device as the API does, and returns the version.
    async fn read(&self) -> i64 {
        match cached(&self.kit.cache, &id("a")).await {
            Some(version) => version,
            None => queries::resource(&self.kit.store, &id("a")).await.unwrap().unwrap().version,
        }
    }

    async fn fill(&self) {
        self.kit.fill(&self.kit.cache, &id("a")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_is_lost_is_kept_and_sent_when_redis_is_back() {
    let cut = Cut::new("lost").await;
    cut.write(1).await;
    cut.fill().await;
    cut.proxy.cut();
    for n in 2..=4 {
        let versions = cut.write(n).await;
        assert_eq!(cut.fencer.fence(&versions).await.outcomes, [FenceOutcome::Pending]);
    }
    assert_eq!(cut.fencer.pending_len(), 1, "the last one of each resource");
    assert_eq!(cut.read().await, 1, "what a reader gets that is not cut off");
    let fencer = cut.fencer.clone();
    let sender = tokio::spawn(async move { fencer.run().await });
    cut.proxy.mend();
    eventually("it is sent", async || cut.fencer.pending_len() == 0).await;
    assert_eq!(cut.kit.cache.get(&key("a")).await, Lookup::Hit(cut.body().await.into()));
    assert_eq!(cut.read().await, 4);
    assert!(cut.fencer.fence(&cut.write(5).await).await.is_acknowledged(), "and the next ones go their way");
    assert_eq!(cut.read().await, 5);
    sender.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_sends_what_it_kept() {
    let cut = Cut::new("last").await;
    cut.write(1).await;
    cut.fill().await;
    cut.proxy.cut();
    assert!(!cut.fencer.fence(&cut.write(2).await).await.is_acknowledged());
    assert!(!cut.fencer.finish(Duration::from_millis(300)).await, "it cannot, and says so");
    cut.proxy.mend();
    // Only `finish` sends the kept fences here.
    assert!(cut.fencer.finish(Duration::from_secs(30)).await);
    assert_eq!((cut.read().await, cut.fencer.pending_len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_is_not_away() {
    let cut = Cut::new("slow").await;
    cut.write(1).await;
    cut.fill().await;
    let versions = cut.write(2).await;
    cut.proxy.hold();
    let mending = async {
        // Longer than the timeout of a command.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cut.proxy.mend();
    };
    let (report, ()) = tokio::join!(cut.fencer.fence(&versions), mending);
    assert_ne!(report.outcomes, [FenceOutcome::Pending], "it was tried again, not put off");
    assert_eq!((cut.read().await, cut.fencer.pending_len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_is_repeated_or_late_never_lowers_a_version() {
    let cut = Cut::new("late").await;
    let direct = cut.kit.fencer();
    cut.write(1).await;
    cut.fill().await;
    // After this Redis knows the scripts, so that it executes late commands.
    assert!(direct.fence(&cut.write(2).await).await.is_acknowledged());
    // Redis executes the fence, but the answers are lost: it counts as not acknowledged, and is repeated.
    cut.proxy.hold_answers();
    let third = cut.write(3).await;
    assert!(!cut.fencer.fence(&third).await.is_acknowledged());
    cut.proxy.mend();
    // A body of version 3 is on its way to Redis while version 4 is written and fenced: the fence of version 3 is held
    // between its two steps.
    cut.kit.put("a", r#"{"version":1,"id":"a"}"#).await;
    eventually("Redis is there again", async || cut.cache.get(&key("a")).await != Lookup::Unavailable).await;
    let lock = cut.kit.pool.begin_with("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let fence = {
        let (fencer, third) = (cut.fencer.clone(), third.clone());
        tokio::spawn(async move { fencer.fence(&third).await })
    };
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'resources'::regclass";
    eventually("it reads the body", async || cut.kit.number(waiting).await == 1).await;
    cut.proxy.hold();
    lock.rollback().await.unwrap();
    assert_eq!(fence.await.unwrap().outcomes, [FenceOutcome::Pending], "given up");
    let fourth = cut.write(4).await;
    assert!(direct.fence(&fourth).await.is_acknowledged());
    let body = cut.body().await;
    assert_eq!(cut.kit.cache.get(&key("a")).await, Lookup::Hit(body.clone().into()));
    cut.proxy.mend();
    eventually("what was given up has been done", async || cut.cache.answering().await.all().is_ok()).await;
    assert_eq!(cut.kit.cache.get(&key("a")).await, Lookup::Hit(body.clone().into()));
    for versions in [&third, &fourth, &third] {
        assert!(direct.fence(versions).await.is_acknowledged());
    }
    assert!(cut.fencer.finish(Duration::from_secs(30)).await);
    assert_eq!(cut.kit.cache.get(&key("a")).await, Lookup::Hit(body.into()));
}

/// The fence of version 3 finds version 1 in Redis, and loads version 2 for it, as from a lagging replica.
#[tokio::test(flavor = "multi_thread")]
async fn a_fence_does_not_take_a_body_that_is_older_than_what_it_was_asked_for() {
    let kit = Kit::new("older_body").await;
    let fencer = kit.fencer();
    for n in 1..=3 {
        kit.write("a", n).await;
    }
    for (found, expected) in [(2, FenceOutcome::Deleted), (3, FenceOutcome::Replaced)] {
        kit.put("a", r#"{"version":1,"id":"a"}"#).await;
        sqlx::query("UPDATE resources SET version = $1").bind(found).execute(&kit.pool).await.unwrap();
        assert_eq!(fencer.fence(&[(id("a").cache_key(), 3)]).await.outcomes, [expected], "{found}");
        assert_eq!(cached(&kit.cache, &id("a")).await, (found == 3).then_some(3), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_redis_takes_late_belongs_to_nobody() {
    let cut = Cut::new("late_lease").await;
    cut.write(1).await;
    cut.proxy.hold();
    assert_eq!(cut.cache.lease(&key("a")).await, None);
    cut.proxy.mend();
    eventually("it is taken late", async || matches!(cut.kit.cache.get(&key("a")).await, Lookup::Leased(_))).await;
    let ttl: i64 = cut.kit.redis().await.pttl(cut.kit.key("a")).await.unwrap();
    assert!((0..=10_000).contains(&ttl), "it ends by itself: {ttl}");
    assert_eq!(cut.read().await, 1, "until then it is read from PostgreSQL");
    assert!(cut.fencer.finish(Duration::from_secs(1)).await);
    eventually("Redis is there again", async || cut.fencer.fence(&[(id("a").cache_key(), 1)]).await.is_acknowledged())
        .await;
    assert_eq!(cut.kit.cache.get(&key("a")).await, Lookup::Miss, "and so does the next fence end it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_redis_does_late_is_judged_when_it_does() {
    let cut = Cut::new("late_fill").await;
    let direct = cut.kit.fencer();
    for fenced in [false, true] {
        let written = cut.write(if fenced { 2 } else { 1 }).await;
        assert!(direct.fence(&written).await.is_acknowledged());
        let _: () = cut.kit.redis().await.del(cut.kit.key("a")).await.unwrap();
        let lease = cut.cache.lease(&key("a")).await.unwrap();
        let read = cut.body().await;
        cut.proxy.hold();
        assert!(!cut.cache.fill(&key("a"), &lease, Some(&read)).await, "given up");
        let next = if fenced { Some(cut.write(3).await) } else { None };
        if let Some(next) = &next {
            assert!(direct.fence(next).await.is_acknowledged());
        }
        cut.proxy.mend();
        eventually("what was given up has been done", async || cut.cache.answering().await.all().is_ok()).await;
        let found = cut.kit.cache.get(&key("a")).await;
        if fenced {
            assert_eq!(found, Lookup::Miss, "its lease is gone");
        } else {
            assert_eq!(found, Lookup::Hit(read.into()), "its lease stood, so nothing was fenced since");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_a_fence_deletes_what_it_cannot_replace() {
    let kit = Kit::new("no_room").await;
    let own = start(&["--maxmemory-policy", "noeviction"]).await;
    let cache = kit.cache_at(&own.url());
    let fencer = Fencer::new(cache.clone(), kit.store.clone());
    let (a, b) = (id("a"), id("b"));
    kit.write("a", 1).await;
    kit.fill(&cache, &a).await;
    let mut redis = connection(&own).await;
    let full = async |limit: &str| config_set(&mut redis.clone(), "maxmemory", limit).await;
    full("1").await;
    let applied = kit.write("a", 2).await;
    assert_eq!(fencer.fence(&applied.fences).await.outcomes, [FenceOutcome::Deleted]);
    assert_eq!(cache.get(&a.cache_key()).await, Lookup::Miss);
    // A reader that gets no lease, or whose body finds no memory, does not cache.
    assert_eq!(cache.lease(&b.cache_key()).await, None);
    full("0").await;
    let lease = cache.lease(&b.cache_key()).await.unwrap();
    full("1").await;
    for _ in 0..5 {
        assert!(!cache.fill(&b.cache_key(), &lease, Some("{\"version\":1,\"id\":\"b\"}")).await);
    }
    assert_eq!(cache.get(&b.cache_key()).await, Lookup::Leased(lease), "that Redis is full does not make it away");
    cache.erase(&a.cache_key()).await.unwrap();
    full("0").await;
    let mark: bool = redis.exists(format!("{{{}}}forgotten", kit.key("a"))).await.unwrap();
    assert!(mark);
}
