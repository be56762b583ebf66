//! The cache on a cluster of three nodes: the same operations as on one node, for keys of every node.

use std::sync::OnceLock;

use devstack::RedisCluster;
use redis::FromRedisValue;

use crate::cache::{fence_many, lease_fill_and_release};
use crate::erase::old_body_stays_away;
use crate::kit::redis_at;
use crate::prelude::*;

/// A cluster for all tests that do not break it.
async fn cluster() -> &'static RedisCluster {
    static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
    blocking(|| CLUSTER.get_or_init(|| RedisCluster::start().unwrap())).await
}

pub(crate) async fn own_cluster() -> RedisCluster {
    blocking(|| RedisCluster::start().unwrap()).await
}

pub(crate) async fn kit(name: &str, cluster: &RedisCluster) -> Kit {
    let mut kit = Kit::new(name).await;
    kit.cache = kit.cache_at(&cluster.url());
    kit
}

/// The number of nodes that answer, and of all nodes.
pub(crate) async fn counts(cache: &Cache) -> (usize, usize) {
    let asked = cache.answering().await;
    (asked.answering, asked.nodes)
}

/// A direct connection to one of the nodes.
async fn node(cluster: &RedisCluster, number: usize) -> redis::aio::MultiplexedConnection {
    redis_at(&cluster.nodes[number].url()).await
}

/// The number of the node that has a key.
pub(crate) async fn owner(cluster: &RedisCluster, key: &str) -> usize {
    let slot: u16 = ask(cluster, 0, &["CLUSTER", "KEYSLOT", key]).await;
    match slot {
        0..5461 => 0,
        5461..10923 => 1,
        _ => 2,
    }
}

pub(crate) async fn ask<T: FromRedisValue>(cluster: &RedisCluster, number: usize, command: &[&str]) -> T {
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]).query_async(&mut node(cluster, number).await).await.unwrap()
}

/// Sets the value of a device's key, on the node that has it.
async fn put(cluster: &RedisCluster, kit: &Kit, device: &str, value: &str) {
    let key = kit.key(device);
    let () = node(cluster, owner(cluster, &key).await).await.set_ex(&key, value, 60).await.unwrap();
}

/// Three devices, one for each node, in the order of the nodes.
pub(crate) async fn one_of_each(cluster: &RedisCluster, kit: &Kit) -> [DeviceId; 3] {
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

pub(crate) fn body(version: i64, device: &DeviceId) -> String {
    format!(r#"{{"version":{version},"id":"{device}"}}"#)
}

#[tokio::test]
async fn lease_fill_and_release_work_wherever_a_key_lies() {
    let cluster = cluster().await;
    let kit = kit("cluster_fill", cluster).await;
    for device in one_of_each(cluster, &kit).await {
        let owner = owner(cluster, &kit.key(device.as_str())).await;
        lease_fill_and_release(&kit, &device, node(cluster, owner).await).await;
    }
    assert_eq!(counts(&kit.cache).await, (3, 3));
}

/// Names with braces: unencoded, `{a}` would choose the slot of `a`, and part the key from its mark.
#[tokio::test]
async fn a_device_with_any_name_has_its_own_slot_and_its_mark_beside_it() {
    let cluster = cluster().await;
    let kit = kit("cluster_names", cluster).await;
    for name in ["{a}/1", "}{", "{", "line 1{", "a/b#%*"] {
        let device = id(name);
        let owner = owner(cluster, &kit.key(name)).await;
        lease_fill_and_release(&kit, &device, node(cluster, owner).await).await;
        kit.cache.erase(&device.cache_key()).await.unwrap();
    }
    for name in ["x{a}/1", "x}{"] {
        let owner = owner(cluster, &kit.key(name)).await;
        old_body_stays_away(&kit, &id(name), node(cluster, owner).await).await;
    }
    assert!(kit.key("{a}/1").ends_with("resource:%7Ba%7D%2F1"), "{}", kit.key("{a}/1"));
}

#[tokio::test]
async fn many_resources_in_many_slots_are_fenced_at_once() {
    let cluster = cluster().await;
    let kit = kit("cluster_many", cluster).await;
    let nodes = [node(cluster, 0).await, node(cluster, 1).await, node(cluster, 2).await];
    fence_many(&kit, &nodes, async |key| owner(cluster, key).await).await;
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
        assert_eq!(other.cache.get(&device.cache_key()).await, Lookup::Hit(body(1, &device).into()));
    }
}

#[tokio::test]
async fn a_forgotten_devices_mark_lies_beside_its_key() {
    let cluster = cluster().await;
    let kit = kit("cluster_erase", cluster).await;
    for device in one_of_each(cluster, &kit).await {
        let owner = owner(cluster, &kit.key(device.as_str())).await;
        old_body_stays_away(&kit, &device, node(cluster, owner).await).await;
    }
}

#[tokio::test]
async fn a_prefix_that_would_part_a_key_from_its_mark_is_refused() {
    let kit = Kit::without_schema("cluster_brace").await;
    for prefix in ["{a}:", "a{b:", "a}b:"] {
        let mut config = kit.redis_config("redis://a,redis://b");
        config.key_prefix = Some(prefix.to_owned());
        assert!(Cache::open(&config, &[&RESOURCE]).is_err(), "{prefix}");
    }
}
