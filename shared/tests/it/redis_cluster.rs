//! The cache on a cluster of three nodes: all that it does on one, wherever a key lies.

use std::sync::OnceLock;
use std::time::Duration;

use devstack::RedisCluster;
use redis::{AsyncCommands, FromRedisValue};
use shared::cache::{Cache, Fencer, Lookup, MISSING};
use shared::event::DeviceId;

use crate::kit::{Kit, at, event, eventually, id, settings};

/// One for all tests that break nothing.
async fn cluster() -> &'static RedisCluster {
    static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
    tokio::task::spawn_blocking(|| CLUSTER.get_or_init(|| RedisCluster::start().unwrap())).await.unwrap()
}

async fn own_cluster() -> RedisCluster {
    tokio::task::spawn_blocking(|| RedisCluster::start().unwrap()).await.unwrap()
}

async fn kit(name: &str, cluster: &RedisCluster) -> Kit {
    let mut kit = Kit::new(name).await;
    kit.cache = cache(&kit, cluster);
    kit
}

fn cache(kit: &Kit, cluster: &RedisCluster) -> Cache {
    Cache::open(&settings(&kit.scope.database_url, &cluster.url(), &kit.scope.cache_prefix).redis).unwrap()
}

/// How many nodes answer, of how many.
async fn counts(cache: &Cache) -> (usize, usize) {
    let asked = cache.answering().await;
    (asked.answering, asked.nodes)
}

/// One of the nodes, asked directly.
async fn node(cluster: &RedisCluster, number: usize) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(cluster.nodes[number].url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// The number of the node that has a key.
async fn owner(cluster: &RedisCluster, key: &str) -> usize {
    let slot: u16 = ask(cluster, 0, &["CLUSTER", "KEYSLOT", key]).await;
    match slot {
        0..5461 => 0,
        5461..10923 => 1,
        _ => 2,
    }
}

async fn ask<T: FromRedisValue>(cluster: &RedisCluster, number: usize, command: &[&str]) -> T {
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]).query_async(&mut node(cluster, number).await).await.unwrap()
}

/// Puts a value under a device's key, on the node that has it.
async fn put(cluster: &RedisCluster, kit: &Kit, device: &str, value: &str) {
    let key = kit.key(device);
    let () = node(cluster, owner(cluster, &key).await).await.set_ex(&key, value, 60).await.unwrap();
}

/// Devices of which every node has some, one after the other.
async fn one_of_each(cluster: &RedisCluster, kit: &Kit) -> [DeviceId; 3] {
    let mut found = [const { None }; 3];
    for n in 0.. {
        let device = format!("d{n}");
        found[owner(cluster, &kit.key(&device)).await].get_or_insert(id(&device));
        if let [Some(a), Some(b), Some(c)] = &found {
            return [a.clone(), b.clone(), c.clone()];
        }
    }
    unreachable!()
}

fn body(version: i64, device: &DeviceId) -> String {
    format!(r#"{{"version":{version},"id":"{device}"}}"#)
}

#[tokio::test]
async fn lease_fill_and_release_work_wherever_a_key_lies() {
    let cluster = cluster().await;
    let kit = kit("cluster_fill", cluster).await;
    for device in one_of_each(cluster, &kit).await {
        assert_eq!(kit.cache.get(&device).await, Lookup::Miss);
        let lease = kit.cache.lease(&device).await.unwrap();
        assert_eq!(kit.cache.lease(&device).await, None, "one at a time");
        assert_eq!(kit.cache.get(&device).await, Lookup::Leased(lease.clone()));
        assert!(kit.cache.fill(&device, &lease, Some(&body(1, &device))).await);
        assert_eq!(kit.cache.get(&device).await, Lookup::Hit(body(1, &device).into()));
        assert!(!kit.cache.fill(&device, &lease, Some(&body(0, &device))).await, "a lease is good for one fill");

        put(cluster, &kit, device.as_str(), "nonsense").await;
        assert_eq!(kit.cache.get(&device).await, Lookup::Corrupt);
        let lease = kit.cache.lease(&device).await.unwrap();
        kit.cache.release(&device, &lease).await;
        assert_eq!(kit.cache.get(&device).await, Lookup::Miss);

        // A resource that does not exist, until its first event.
        let lease = kit.cache.lease(&device).await.unwrap();
        assert!(kit.cache.fill(&device, &lease, None).await);
        assert_eq!(kit.cache.get(&device).await, Lookup::Hit(MISSING.into()));
        let applied = kit.store.apply(&[&event(device.as_str(), "1", "{}", at(0, 1))]).await.unwrap();
        assert!(Fencer::new(kit.cache.clone(), kit.store.clone()).fence(&applied.versions).await.is_acknowledged());
        let rendered = kit.store.resource(&device).await.unwrap().unwrap().body;
        assert_eq!(kit.cache.get(&device).await, Lookup::Hit(rendered.into()));
        let key = kit.key(device.as_str());
        let ttl: i64 = node(cluster, owner(cluster, &key).await).await.ttl(&key).await.unwrap();
        assert!((50..=60).contains(&ttl), "the first body gets a TTL of its own: {ttl}");
    }
    assert_eq!(counts(&kit.cache).await, (3, 3));
}

#[tokio::test]
async fn many_resources_in_many_slots_are_fenced_at_once() {
    let cluster = cluster().await;
    let kit = kit("cluster_many", cluster).await;
    let fencer = Fencer::new(kit.cache.clone(), kit.store.clone());
    let events: Vec<_> = (0..1_000).map(|n| event(&format!("d{n}"), "1", "{}", at(0, n))).collect();
    let applied = kit.store.apply(&events.iter().collect::<Vec<_>>()).await.unwrap();
    let mut connections = [node(cluster, 0).await, node(cluster, 1).await, node(cluster, 2).await];
    let mut seen = [0; 3];
    for n in 0..1_000 {
        let key = kit.key(&format!("d{n}"));
        let owner = owner(cluster, &key).await;
        seen[owner] += 1;
        let value = [r#"{"version":0}"#, "lease:of-a-reader", r#"{"version":9,"newer":true}"#, ""][n % 4];
        if !value.is_empty() {
            let () = connections[owner].set_ex(&key, value, 60).await.unwrap();
        }
    }
    assert!(seen.iter().all(|count| *count > 200), "every node has some: {seen:?}");
    assert!(fencer.fence(&applied.versions).await.is_acknowledged());
    for n in 0..1_000 {
        let found = kit.cache.get(&id(&format!("d{n}"))).await;
        match (n % 4, found) {
            (0, Lookup::Hit(body)) => assert!(body.starts_with(format!(r#"{{"version":1,"id":"d{n}","#).as_bytes())),
            (2, Lookup::Hit(body)) => assert_eq!(body, r#"{"version":9,"newer":true}"#),
            (1 | 3, Lookup::Miss) => {}
            (_, found) => panic!("d{n}: {found:?}"),
        }
    }
    assert_eq!(fencer.pending_len(), 0);
}

#[tokio::test]
async fn clearing_takes_this_prefix_on_every_node_and_no_other() {
    let cluster = cluster().await;
    let kit = kit("cluster_clear", cluster).await;
    let other = self::kit("cluster_clear_other", cluster).await;
    for n in 0..300 {
        put(cluster, &kit, &n.to_string(), "x").await;
    }
    for device in one_of_each(cluster, &other).await {
        put(cluster, &other, device.as_str(), &body(1, &device)).await;
    }
    kit.cache.is_there().await.unwrap();
    assert_eq!(kit.cache.clear().await.unwrap(), 300);
    assert_eq!(kit.cache.clear().await.unwrap(), 0);
    for device in one_of_each(cluster, &other).await {
        assert_eq!(other.cache.get(&device).await, Lookup::Hit(body(1, &device).into()));
    }
}

#[tokio::test]
async fn a_forgotten_devices_mark_lies_beside_its_key() {
    let cluster = cluster().await;
    let kit = kit("cluster_forget", cluster).await;
    let fencer = Fencer::new(kit.cache.clone(), kit.store.clone());
    for (n, device) in (1..).zip(one_of_each(cluster, &kit).await) {
        // What a worker that began before has read for its fence.
        kit.store.apply(&[&event(device.as_str(), "1", "{}", at(0, n))]).await.unwrap();
        put(cluster, &kit, device.as_str(), r#"{"version":7,"old":true}"#).await;
        kit.cache.forget(&device).await.unwrap();
        assert_eq!(kit.cache.get(&device).await, Lookup::Miss);
        put(cluster, &kit, device.as_str(), MISSING).await;
        assert!(fencer.fence(&[(device.clone(), 1)]).await.is_acknowledged());
        assert_eq!(kit.cache.get(&device).await, Lookup::Miss, "deleted, not replaced");
    }
}

#[tokio::test]
async fn a_prefix_that_would_part_a_key_from_its_mark_is_refused() {
    let kit = Kit::without_schema("cluster_brace").await;
    for prefix in ["{a}:", "a{b:", "a}b:"] {
        let settings = settings(&kit.scope.database_url, "redis://a,redis://b", prefix);
        assert!(Cache::open(&settings.redis).is_err(), "{prefix}");
    }
}

#[tokio::test]
async fn slots_that_move_are_followed() {
    let cluster = own_cluster().await;
    let kit = kit("cluster_moved", &cluster).await;
    let fencer = Fencer::new(kit.cache.clone(), kit.store.clone());
    let [device, ..] = one_of_each(&cluster, &kit).await;
    let (key, from, to) = (kit.key(device.as_str()), 0, 1);
    let slot: u16 = ask(&cluster, 0, &["CLUSTER", "KEYSLOT", &key]).await;
    let slot = slot.to_string();
    let ids: Vec<String> =
        vec![ask(&cluster, from, &["CLUSTER", "MYID"]).await, ask(&cluster, to, &["CLUSTER", "MYID"]).await];
    let version = async |n: i64| {
        let applied = kit.store.apply(&[&event(device.as_str(), &n.to_string(), "{}", at(0, n))]).await.unwrap();
        assert!(fencer.fence(&applied.versions).await.is_acknowledged(), "acknowledged");
        applied.versions[0].1
    };
    let fill = async || {
        let lease = kit.cache.lease(&device).await.unwrap();
        let read = kit.store.resource(&device).await.unwrap().unwrap();
        assert!(kit.cache.fill(&device, &lease, Some(&read.body)).await);
    };
    let cached = async || match kit.cache.get(&device).await {
        Lookup::Hit(body) => shared::cache::version(&body),
        Lookup::Miss => None,
        other => panic!("{other:?}"),
    };
    version(1).await;
    fill().await;

    // It is on its way: the key is still where it was.
    let _: () = ask(&cluster, to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
    let _: () = ask(&cluster, from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]).await;
    version(2).await;
    assert!(cached().await.is_none_or(|cached| cached == 2), "replaced, or, on its way, deleted");
    // Now it is there already, and the slot is not: an ASK for each question.
    if cached().await.is_none() {
        fill().await;
    }
    let port = cluster.nodes[to].port.to_string();
    let _: String = ask(&cluster, from, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await;
    assert_eq!(cached().await, Some(2));
    version(3).await;
    assert!(cached().await.is_none_or(|cached| cached == 3));
    if cached().await.is_none() {
        fill().await;
    }
    assert_eq!(cached().await, Some(3));

    // The slot follows: MOVED, once.
    for number in [to, from, 2] {
        let _: () = ask(&cluster, number, &["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]).await;
    }
    assert_eq!(cached().await, Some(3));
    version(4).await;
    assert_eq!(cached().await, Some(4), "replaced");
    assert_eq!(fencer.pending_len(), 0);
}

#[tokio::test]
async fn who_takes_over_the_slots_of_a_dead_node_is_found() {
    let cluster = own_cluster().await;
    let kit = kit("cluster_taken_over", &cluster).await;
    let [device, ..] = one_of_each(&cluster, &kit).await;
    assert_eq!(kit.cache.get(&device).await, Lookup::Miss);
    let slot: u16 = ask(&cluster, 0, &["CLUSTER", "KEYSLOT", &kit.key(device.as_str())]).await;
    cluster.nodes[0].kill().unwrap();
    assert_eq!(kit.cache.get(&device).await, Lookup::Unavailable);
    let heir: String = ask(&cluster, 1, &["CLUSTER", "MYID"]).await;
    for number in [1, 2] {
        let _: () = ask(&cluster, number, &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &heir]).await;
    }
    eventually("it is found", async || kit.cache.get(&device).await == Lookup::Miss).await;
    let lease = kit.cache.lease(&device).await.unwrap();
    assert!(kit.cache.fill(&device, &lease, Some(&body(1, &device))).await);
}

/// A node that is away, frozen or killed, costs what it has, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_costs_its_keys_alone() {
    let cluster = own_cluster().await;
    let kit = kit("cluster_away", &cluster).await;
    let fencer = Fencer::new(kit.cache.clone(), kit.store.clone());
    let sender = {
        let fencer = fencer.clone();
        tokio::spawn(async move { fencer.run().await })
    };
    let devices: Vec<DeviceId> = (0..60).map(|n| id(&format!("d{n}"))).collect();
    let mut its = Vec::new();
    for device in &devices {
        its.push(owner(&cluster, &kit.key(device.as_str())).await == 0);
    }
    assert!(its.contains(&true) && its.contains(&false));
    let write = async |n: i64| {
        let events: Vec<_> =
            devices.iter().map(|device| event(device.as_str(), &n.to_string(), "{}", at(0, n))).collect();
        kit.store.apply(&events.iter().collect::<Vec<_>>()).await.unwrap().versions
    };
    let fill = async || {
        for device in &devices {
            if let Some(lease) = kit.cache.lease(device).await {
                let read = kit.store.resource(device).await.unwrap().unwrap();
                assert!(kit.cache.fill(device, &lease, Some(&read.body)).await);
            }
        }
    };
    let version = async |device: &DeviceId| match kit.cache.get(device).await {
        Lookup::Hit(body) => shared::cache::version(&body),
        _ => None,
    };
    let mut n = 1;
    assert!(fencer.fence(&write(n).await).await.is_acknowledged());
    for killed in [false, true] {
        fill().await;
        if killed {
            cluster.nodes[0].kill().unwrap()
        } else {
            cluster.nodes[0].freeze().unwrap()
        }
        n += 1;
        let written = write(n).await;
        assert!(!fencer.fence(&written).await.is_acknowledged(), "not all of it was acknowledged");
        for (device, its) in devices.iter().zip(&its) {
            if !its {
                assert_eq!(version(device).await, Some(n), "the others' are fenced, and hits: {device}");
            }
        }
        // Known to be away, its keys cost nothing any more, and the others' fences go their way.
        n += 1;
        assert!(!fencer.fence(&write(n).await).await.is_acknowledged());
        for (device, its) in devices.iter().zip(&its) {
            assert_eq!(version(device).await, if *its { None } else { Some(n) }, "{device}");
        }
        assert_eq!(fencer.pending_len(), its.iter().filter(|its| **its).count(), "its own wait");
        assert_eq!(counts(&kit.cache).await, (2, 3));
        assert!(kit.cache.is_there().await.is_err(), "an operator's command needs all of it");
        assert!(kit.cache.clear().await.is_err());

        if killed {
            cluster.nodes[0].start().unwrap()
        } else {
            cluster.nodes[0].thaw().unwrap()
        }
        eventually("what was kept is sent", async || fencer.pending_len() == 0).await;
        for device in &devices {
            eventually("it is read again", async || {
                !matches!(kit.cache.get(device).await, Lookup::Unavailable | Lookup::Leased(_))
            })
            .await;
            assert!(version(device).await.is_none_or(|found| found == n), "nothing older");
        }
    }
    sender.abort();
}

#[tokio::test]
async fn scripts_that_a_node_forgot_are_sent_again_though_another_is_away() {
    let cluster = own_cluster().await;
    let kit = kit("cluster_scripts", &cluster).await;
    let fencer = Fencer::new(kit.cache.clone(), kit.store.clone());
    let [away, device, _] = one_of_each(&cluster, &kit).await;
    kit.store.apply(&[&event(device.as_str(), "1", "{}", at(0, 1))]).await.unwrap();
    let turn = async || {
        let lease = kit.cache.lease(&device).await.unwrap();
        kit.cache.release(&device, &lease).await;
        let lease = kit.cache.lease(&device).await.unwrap();
        assert!(kit.cache.fill(&device, &lease, None).await);
        assert!(fencer.fence(&[(device.clone(), 1)]).await.is_acknowledged());
        assert!(matches!(kit.cache.get(&device).await, Lookup::Hit(body) if body != MISSING));
        kit.cache.forget(&device).await.unwrap();
        assert_eq!(kit.cache.get(&device).await, Lookup::Miss);
        let _: u64 = ask(&cluster, 1, &["DEL", &format!("{{{}}}forgotten", kit.key(device.as_str()))]).await;
    };
    turn().await;
    cluster.nodes[0].kill().unwrap();
    assert_eq!(kit.cache.get(&away).await, Lookup::Unavailable);
    let _: () = ask(&cluster, 1, &["SCRIPT", "FLUSH"]).await;
    turn().await;
    // As a restart does, with everything else.
    cluster.nodes[1].kill().unwrap();
    cluster.nodes[0].start().unwrap();
    cluster.nodes[1].start().unwrap();
    cluster.until_ok().unwrap();
    eventually("it is reached again", async || kit.cache.get(&device).await == Lookup::Miss).await;
    turn().await;
}

#[tokio::test]
async fn a_cluster_that_comes_after_its_users_is_found() {
    let kit = Kit::without_schema("cluster_late").await;
    let cluster = own_cluster().await;
    for node in &cluster.nodes {
        node.kill().unwrap();
    }
    // Of two addresses one is nobody's for ever.
    let urls = format!("redis://127.0.0.1:{},{}", devstack::port::free(), cluster.nodes[2].url());
    let config = settings(&kit.scope.database_url, &urls, &kit.scope.cache_prefix);
    let cache = Cache::open(&config.redis).unwrap();
    let started = std::time::Instant::now();
    for n in 0..1_000 {
        assert_eq!(cache.get(&id(&format!("d{n}"))).await, Lookup::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    for node in &cluster.nodes {
        node.start().unwrap();
    }
    cluster.until_ok().unwrap();
    for device in one_of_each(&cluster, &kit).await {
        eventually("it is found", async || cache.get(&device).await == Lookup::Miss).await;
    }
}
