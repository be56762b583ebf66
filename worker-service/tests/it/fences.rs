//! The fence after the transaction, with Redis cut off, slow, or the worker killed in between.

use redis::aio::MultiplexedConnection;

use crate::prelude::*;

/// The metric of one fence that waits.
const PENDING: &str = "cache_fences_pending{kind=\"resource\"} 1\n";

/// A kit whose worker reaches Redis through a proxy.
struct Fenced {
    kit: Kit,
    proxy: Proxy,
    redis: MultiplexedConnection,
}

impl Fenced {
    async fn new(name: &str) -> Self {
        let mut kit = Kit::new(name, 1).await;
        let redis = kit.redis().await;
        let (proxy, redis_url) = Proxy::before(&kit.scope.endpoints.redis_url).unwrap();
        kit.scope.endpoints.redis_url = redis_url;
        Self { kit, proxy, redis }
    }

    /// Applies and caches the first state; a worker must be running.
    async fn cache_the_first(&self) {
        self.kit.apply("a", "1", r#"{"n":1}"#).await;
        self.kit.until_committed(0, 1).await;
        let body = self.row().await;
        let () = self.redis.clone().set_ex(self.kit.key("a"), body, 600).await.unwrap();
    }

    /// The same; returns 1 if its event counts as visible within a second. It may have waited for the worker to start.
    async fn count_the_first(&self, worker: &Process) -> u64 {
        self.cache_the_first().await;
        until("it is counted", async || visible(worker).await.0 == 1).await;
        visible(worker).await.1
    }

    async fn row(&self) -> String {
        queries::resource(&self.kit.store, &"a".parse().unwrap()).await.unwrap().unwrap().body
    }

    async fn cached(&self) -> String {
        self.redis.clone().get(self.kit.key("a")).await.unwrap()
    }

    async fn until_the_row_is_cached(&self) {
        let row = self.row().await;
        until("what is cached is the row", async || self.cached().await == row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_ingest_goes_on_and_the_fences_come_when_it_is_back() {
    let fenced = Fenced::new("fences_cut").await;
    let worker = fenced.kit.process().await;
    let quick = fenced.count_the_first(&worker).await;
    let first = fenced.row().await;
    fenced.proxy.cut();
    fenced.kit.events("a", 2..=20).await;
    fenced.kit.until_committed(0, 20).await;
    let put_off = Instant::now();
    assert_eq!(fenced.kit.version("a").await, Some(20));
    let said = async |of: &str| worker.health().await["cache"][of].clone();
    until("it says that Redis is away", async || said("status").await == "down").await;
    until("and that a fence waits for it", async || said("fences_pending").await == 1).await;
    let error = said("error").await;
    assert!(error.as_str().unwrap().starts_with("Redis at 127.0.0.1:"), "{error}");
    assert_eq!(worker.ready().await.0, 200);
    assert_eq!(fenced.cached().await, first, "nobody could tell");
    until("a second is over", async || put_off.elapsed() > Duration::from_secs(1)).await;
    assert_eq!(visible(&worker).await, (1, quick), "nobody is certain to see them");
    fenced.proxy.mend();
    fenced.until_the_row_is_cached().await;
    until("all are counted, as late as they are", async || visible(&worker).await == (20, quick)).await;
    until("it says that all is well", async || said("status").await == "up" && said("fences_pending").await == 0).await;
    fenced.kit.event("a", "21", "{}").await;
    until("and the next ones are counted as before", async || visible(&worker).await == (21, quick + 1)).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_slow_the_offset_waits_for_the_fence() {
    let fenced = Fenced::new("fences_slow").await;
    let worker = fenced.kit.worker();
    fenced.cache_the_first().await;
    fenced.proxy.hold();
    fenced.kit.apply("a", "2", r#"{"n":2}"#).await;
    let row = fenced.row().await;
    let watermark = || partition(&worker, 0)["watermark"].as_i64();
    // Longer than one command of a fence (2 s here), shorter than it takes to declare Redis down.
    let mend_at = Instant::now() + Duration::from_millis(2_500);
    while watermark() != Some(2) {
        if Instant::now() >= mend_at {
            fenced.proxy.mend();
        }
        assert!(Instant::now() < mend_at + TEST_TIMEOUT, "{:?}", watermark());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fenced.cached().await, row, "fenced before the offset moved");
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_its_commit_and_its_fence_leaves_the_fence_to_its_successor() {
    let fenced = Fenced::new("fences_crash").await;
    // The timeout is long enough that the fence is not postponed before the kill.
    let worker = fenced.kit.process_with(&[("REDIS_TIMEOUT", "10s")]).await;
    fenced.cache_the_first().await;
    let first = fenced.row().await;
    fenced.proxy.hold();
    fenced.kit.apply("a", "2", r#"{"n":2}"#).await;
    // Longer than the interval between commits of stored offsets.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    worker.service.kill().unwrap();
    assert_eq!(fenced.kit.committed().await[&0], 1, "the offset waits for the fence");
    assert_eq!(fenced.cached().await, first);

    let successor = fenced.kit.process_with(&[("REDIS_URL", &devstack::endpoints().redis_url)]).await;
    fenced.until_the_row_is_cached().await;
    fenced.kit.until_committed(0, 2).await;
    assert_eq!(fenced.kit.count("SELECT count(*) FROM events").await, 2, "the repeat changed nothing");
    assert_eq!(fenced.kit.version("a").await, Some(2));
    // The commands of the killed worker arrive now.
    fenced.proxy.mend();
    fenced.kit.apply("a", "3", r#"{"n":3}"#).await;
    fenced.until_the_row_is_cached().await;
    successor.tells("A worker died, and this one has its partitions").await;
    successor.end().await;
}

/// When an empty Redis comes back, each service reconnects at its own time: the API may cache a state that the worker
/// has just replaced, and whose fence the worker still has.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_filled_in_before_the_worker_finds_redis_again_is_fenced_within_moments() {
    let fenced = Fenced::new("fences_empty").await;
    let worker = fenced.kit.process().await;
    fenced.cache_the_first().await;
    fenced.proxy.cut();
    fenced.kit.event("a", "2", r#"{"n":2}"#).await;
    fenced.kit.until_committed(0, 2).await;
    let filled = fenced.row().await;
    let () = fenced.redis.clone().set_ex(fenced.kit.key("a"), &filled, 600).await.unwrap();
    fenced.kit.event("a", "3", r#"{"n":3}"#).await;
    fenced.kit.until_committed(0, 3).await;
    assert_eq!(fenced.cached().await, filled, "a hit is behind PostgreSQL");
    worker.tells("Redis is away").await;
    assert!(worker.metrics().await.contains(PENDING), "and the worker says so");
    fenced.proxy.mend();
    let mended = Instant::now();
    fenced.until_the_row_is_cached().await;
    assert!(mended.elapsed() < Duration::from_secs(5), "a second or so: {:?}", mended.elapsed());
    worker.tells_end_of("Redis is away").await;
    worker.end().await;
}

/// How many events the worker has counted as visible, and how many of them within a second.
async fn visible(worker: &Process) -> (u64, u64) {
    let page = worker.metrics().await;
    let sample = |name: &str| sample(&page, name).map_or(0, |value| value as u64);
    (
        sample(r#"accepted_to_visible_seconds_count{kind="resource"}"#),
        sample(r#"accepted_to_visible_seconds_bucket{kind="resource",le="1"}"#),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn events_whose_fence_never_comes_count_when_nothing_stale_can_be_cached() {
    let fenced = Fenced::new("fences_never").await;
    let worker = fenced.kit.process_with(&[("CACHE_TTL", "1s")]).await;
    let quick = fenced.count_the_first(&worker).await;
    fenced.proxy.cut();
    fenced.kit.events("a", 2..=20).await;
    until("the TTL made them visible", async || visible(&worker).await == (20, quick)).await;
    assert!(worker.metrics().await.contains(PENDING), "the fence waits all the same");
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_fences_than_there_is_room_for_are_told() {
    // A few more than the limit of pending fences.
    const DEVICES: usize = 100_200;
    let fenced = Fenced::new("fences_many").await;
    let worker = fenced.kit.process().await;
    fenced.cache_the_first().await;
    fenced.proxy.cut();
    fenced.kit.flood(DEVICES, "{}", |n| format!("d{n}")).await;
    // In parts, because all of them take long on a busy machine.
    for part in 1..=4 {
        let applied = async || fenced.kit.count("SELECT count(*) FROM resources").await >= part * 25_000;
        until("a part of them is applied", applied).await;
    }
    worker.tells("More fences wait than there is room for").await;
    fenced.proxy.mend();
    worker.tells_end_of("More fences wait than there is room for").await;
    worker.end().await;
}
