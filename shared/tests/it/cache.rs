//! Lease, fill and fence: a body that was read before a fence cannot be stored after it.

use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;

use crate::prelude::*;

fn body(version: i64) -> String {
    format!(r#"{{"version":{version},"id":"a"}}"#)
}

#[tokio::test]
async fn a_fill_needs_the_very_lease() {
    let kit = Kit::new("fill").await;
    lease_fill_and_release(&kit, &id("a"), kit.redis().await).await;
}

/// A reader's operations on one key, up to the fence of its first event. `redis` is a connection to the key's server.
pub(crate) async fn lease_fill_and_release(kit: &Kit, device: &DeviceId, mut redis: MultiplexedConnection) {
    let (cache, key, name) = (&kit.cache, device.cache_key(), kit.key(device.as_str()));
    assert_eq!(cache.get(&key).await, Lookup::Miss);
    let lease = cache.lease(&key).await.unwrap();
    assert_eq!(cache.lease(&key).await, None, "one at a time");
    assert_eq!(cache.get(&key).await, Lookup::Leased(lease.clone()));
    assert!(cache.fill(&key, &lease, Some(&body(1))).await);
    assert_eq!(cache.get(&key).await, Lookup::Hit(body(1).into()));
    assert!(!cache.fill(&key, &lease, Some(&body(0))).await, "a lease is good for one fill");
    let ttl: i64 = redis.pttl(&name).await.unwrap();
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");

    let () = redis.set_ex(&name, "nonsense", 60).await.unwrap();
    assert_eq!(cache.get(&key).await, Lookup::Corrupt);
    let lease = cache.lease(&key).await.unwrap();
    cache.release(&key, &lease).await;
    assert_eq!(cache.get(&key).await, Lookup::Miss, "a lease given back is free again");
    let next = cache.lease(&key).await.unwrap();
    cache.release(&key, &lease).await;
    assert_eq!(cache.get(&key).await, Lookup::Leased(next.clone()), "nobody gives back another's");

    // A resource that does not exist, until its first event.
    assert!(cache.fill(&key, &next, None).await);
    assert_eq!(cache.get(&key).await, Lookup::Hit(MISSING.into()));
    let ttl: i64 = redis.pttl(&name).await.unwrap();
    assert!((1..=2_000).contains(&ttl), "{ttl}");
    let applied = kit.write(device.as_str(), 1).await;
    assert!(kit.fencer().fence(&applied.fences).await.is_acknowledged());
    assert_eq!(cache.get(&key).await, Lookup::Hit(kit.body(device.as_str()).await.into()));
    let ttl: i64 = redis.ttl(&name).await.unwrap();
    assert!((50..=60).contains(&ttl), "the first body gets a TTL of its own: {ttl}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_deleted() {
    let kit = Kit::new("corrupt").await;
    let mut redis = kit.redis().await;
    for value in ["", "nonsense", r#"{"version":x}"#, r#"{"id":1}"#] {
        let () = redis.set(kit.key("a"), value).await.unwrap();
        assert_eq!(kit.cache.get(&key("a")).await, Lookup::Corrupt, "{value}");
        assert_eq!(kit.cache.get(&key("a")).await, Lookup::Miss);
    }
    let () = redis.lpush(kit.key("a"), "x").await.unwrap();
    assert_eq!(kit.cache.get(&key("a")).await, Lookup::Corrupt, "a list");
    assert_eq!(kit.cache.get(&key("a")).await, Lookup::Miss);
}

/// A device is at version 2 in PostgreSQL. Checks the effect of a fence at that version on each kind of cache entry,
/// and of a reader's fence.
#[tokio::test]
async fn a_fence_leaves_nothing_older() {
    let kit = Kit::new("fence").await;
    let (fencer, name, mut redis) = (kit.fencer(), kit.key("a"), kit.redis().await);
    kit.apply(&[1, 2].map(|n| event("a", &n.to_string(), "{}", at(0, n)))).await;
    let row = kit.body("a").await;
    let newer = body(3);
    let cases = [
        (None, None, FenceOutcome::Absent, "an absent key is left alone"),
        (Some("lease:x"), None, FenceOutcome::LeaseDeleted, "under a lease something older may be about to come"),
        (Some(MISSING), Some(row.as_str()), FenceOutcome::Replaced, "what was not there is there now"),
        (Some(r#"{"version":1,"id":"a"}"#), Some(row.as_str()), FenceOutcome::Replaced, "an older body is replaced"),
        (
            Some(r#"{"version":2,"same":1}"#),
            Some(r#"{"version":2,"same":1}"#),
            FenceOutcome::Current,
            "the same version is left alone",
        ),
        (Some(newer.as_str()), Some(newer.as_str()), FenceOutcome::Current, "a newer one too"),
        (Some("nonsense"), None, FenceOutcome::Deleted, "what cannot be understood is deleted"),
    ];
    for ((before, after, outcome, why), is_fence) in cases.into_iter().flat_map(|case| [(case, true), (case, false)]) {
        match before {
            Some(value) => redis.set_ex(&name, value, 30).await.unwrap(),
            None => redis.del(&name).await.unwrap(),
        }
        if is_fence {
            assert_eq!(fencer.fence(&[(key("a"), 2)]).await.outcomes, [outcome], "{why}");
        } else {
            assert!(kit.cache.at_least(&key("a"), 2, &row).await, "{why}");
        }
        let found: Option<String> = redis.get(&name).await.unwrap();
        assert_eq!(found.as_deref(), after, "{why}");
        if found.is_some() {
            let ttl: i64 = redis.ttl(&name).await.unwrap();
            let expected = if before == Some(MISSING) { 50..=60 } else { 1..=30 };
            assert!(expected.contains(&ttl), "{why}: the TTL is kept, but for what was not there: {ttl}");
        }
    }
    assert_eq!(fencer.pending_len(), 0);
}

#[tokio::test]
async fn a_slow_reader_cannot_put_in_what_it_read_before_the_fence() {
    let kit = Kit::new("slow").await;
    let fencer = kit.fencer();
    kit.apply([&event("a", "1", r#"{"n":1}"#, at(0, 1))]).await;
    let lease = kit.cache.lease(&key("a")).await.unwrap();
    let read = queries::resource(&kit.store, &id("a")).await.unwrap().unwrap();
    // The reader pauses here.
    let applied = kit.apply([&event("a", "2", r#"{"n":2}"#, at(0, 2))]).await;
    assert_eq!(fencer.fence(&applied.fences).await.outcomes, [FenceOutcome::LeaseDeleted]);
    assert!(!kit.cache.fill(&key("a"), &lease, Some(&read.body)).await);
    assert_eq!(kit.cache.get(&key("a")).await, Lookup::Miss);
}

#[tokio::test]
async fn many_resources_are_fenced_at_once() {
    let kit = Kit::new("many").await;
    fence_many(&kit, &[kit.redis().await], async |_| 0).await;
}

/// Fences a thousand resources on these servers; `owner` returns the index of a key's server.
pub(crate) async fn fence_many(kit: &Kit, servers: &[MultiplexedConnection], owner: impl AsyncFn(&str) -> usize) {
    let fencer = kit.fencer();
    let events: Vec<_> = (0..1_000).map(|n| event(&format!("d{n}"), "1", "{}", at(0, n))).collect();
    let applied = kit.apply(&events).await;
    let mut seen = vec![0; servers.len()];
    for n in 0..1_000 {
        let key = kit.key(&format!("d{n}"));
        let owner = owner(&key).await;
        seen[owner] += 1;
        let value = [MISSING, "lease:of-a-reader", r#"{"version":9,"newer":true}"#, ""][n % 4];
        if !value.is_empty() {
            let () = servers[owner].clone().set_ex(&key, value, 60).await.unwrap();
        }
    }
    assert!(seen.iter().all(|count| *count > 200), "every server has some: {seen:?}");
    let report = fencer.fence(&applied.fences).await;
    for ((device, _), outcome) in applied.fences.iter().zip(report.outcomes) {
        use FenceOutcome::{Absent, Current, LeaseDeleted, Replaced};
        let n: usize = device.id()[1..].parse().unwrap();
        assert_eq!(outcome, [Replaced, LeaseDeleted, Current, Absent][n % 4], "{device}");
        match (n % 4, kit.cache.get(device).await) {
            (0, Lookup::Hit(body)) => assert!(body.starts_with(format!(r#"{{"version":1,"id":"d{n}","#).as_bytes())),
            (2, Lookup::Hit(body)) => assert_eq!(body, r#"{"version":9,"newer":true}"#),
            (1 | 3, Lookup::Miss) => {}
            (_, found) => panic!("{device}: {found:?}"),
        }
    }
    assert_eq!(fencer.pending_len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_cache_costs_little() {
    let kit = Kit::new("dead").await;
    let cache = kit.cache_at(&format!("redis://{}", devstack::kit::nobody()));
    let mut waited = 0;
    for _ in 0..1_000 {
        let started = std::time::Instant::now();
        assert_eq!(cache.get(&key("a")).await, Lookup::Unavailable);
        waited += usize::from(started.elapsed() > Duration::from_secs(1));
    }
    // Three have the timeout of two seconds, then the breaker answers; now and then one tries again.
    assert!(waited < 50, "{waited} of 1,000 reads waited");
}

/// An answer has the timeout of a single read, and uses the connection that all reads share. So an answer for several
/// reads has at most a megabyte, even if all earlier bodies were small.
#[tokio::test]
async fn an_answer_for_several_reads_is_bounded_whatever_was_read_before() {
    const KEYS: usize = 96;
    let kit = Kit::new("companies").await;
    let mut connection = kit.redis().await;
    let body = |size: usize| format!(r#"{{"version":1,"payload":"{}"}}"#, "x".repeat(size));
    for (name, size) in [("small", 100), ("large", 500_000)] {
        for n in 0..KEYS {
            let () = connection.set(kit.key(&format!("{name}-{n}")), body(size)).await.unwrap();
        }
    }
    let read_all = async |name: &'static str, size: usize| {
        let reads = (0..KEYS).map(|n| {
            let cache = kit.cache.clone();
            tokio::spawn(async move { cache.get(&id(&format!("{name}-{n}")).cache_key()).await })
        });
        for read in futures_util::future::join_all(reads).await {
            assert_eq!(read.unwrap(), Lookup::Hit(body(size).into()));
        }
    };
    let client = redis::Client::open(kit.scope.endpoints.redis_url.as_str()).unwrap();
    let mut monitor = client.get_async_monitor().await.unwrap();
    for _ in 0..3 {
        read_all("small", 100).await;
    }
    read_all("large", 500_000).await;
    read_all("small", 100).await;
    let done = format!("done-{}", kit.scope.cache_prefix);
    redis::cmd("ECHO").arg(&done).exec_async(&mut connection).await.unwrap();
    // For each request: the number of keys, and the largest possible answer.
    let mut questions: Vec<(usize, usize)> = Vec::new();
    let mut lines = std::pin::pin!(monitor.on_message::<String>());
    while let Some(line) = lines.next().await {
        if line.contains(&done) {
            break;
        }
        let keys = line.matches(&kit.scope.cache_prefix).count();
        if keys == 0 {
            continue;
        }
        if line.contains("\"DEL\"") {
            questions.push((0, 0));
            continue;
        }
        let last = line.rsplit('"').nth(1).and_then(|last| last.parse::<usize>().ok());
        let each = if line.contains("\"GETRANGE\"") { last.unwrap() + 1 } else { 600_000 };
        let question = questions.last_mut().unwrap();
        *question = (question.0 + keys, question.1 + keys * each);
    }
    assert!(questions.iter().any(|(keys, _)| *keys == 32), "they go together: {questions:?}");
    let too_large: Vec<_> = questions.iter().filter(|(_, bytes)| *bytes > 1024 * 1024).collect();
    assert!(too_large.is_empty(), "{too_large:?}");
}
