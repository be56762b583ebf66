//! `REDIS_CLUSTER` does not match the server: the error says so.

use crate::prelude::*;
use crate::redis_cluster::{one_of_each, own_cluster};

fn cache(kit: &Kit, url: &str, cluster: bool) -> Cache {
    let mut config = kit.redis_config(url);
    config.cluster = cluster;
    Cache::open(&config, &[&RESOURCE]).unwrap()
}

#[tokio::test]
async fn one_node_that_is_taken_for_a_cluster_says_what_it_is() {
    let kit = Kit::without_schema("no_cluster").await;
    let redis = start(&[]).await;
    for (port, says) in [(redis.port, "cluster support disabled"), (devstack::port::free(), "refused")] {
        let address = format!("127.0.0.1:{port}");
        let cache = cache(&kit, &format!("redis://{address}"), true);
        let why = cache.answering().await.all().unwrap_err().to_string();
        assert!(why.contains(&address) && why.contains(says), "{why}");
        assert_eq!(cache.get(&key("d")).await, Lookup::Unavailable);
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_that_is_taken_for_the_only_one_says_so() {
    let (log, _guard) = Log::start();
    let kit = Kit::new("not_alone").await;
    let cluster = own_cluster().await;
    for node in &cluster.nodes {
        let cache = cache(&kit, &node.url(), false);
        let why = cache.answering().await.why_not.unwrap_or_default();
        assert!(why.contains("it is a node of a cluster, and REDIS_CLUSTER is false"), "{why}");
    }
    // Without `answering`, the node's redirections show that it is a cluster's.
    let cache = cache(&kit, &cluster.nodes[0].url(), false);
    let [_, second, third] = one_of_each(&cluster, &kit).await;
    eventually("a key of another node is told", async || {
        assert_eq!(cache.get(&second.cache_key()).await, Lookup::Unavailable);
        log.count("Redis refuses commands") > 0
            && log.count("it is a node of a cluster, and REDIS_CLUSTER is false") > 0
    })
    .await;
    // A batched read with keys of several slots.
    let keys = [&second, &third, &second].map(DeviceId::cache_key);
    let found = futures_util::future::join_all(keys.iter().map(|key| cache.get(key))).await;
    assert!(found.iter().all(|found| *found == Lookup::Unavailable), "{found:?}");
    assert_eq!(log.count("Redis is away"), 0);
}
