//! Both services on a Redis cluster of three nodes, one of which fails.

use devstack::RedisCluster;

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn on_a_redis_cluster_reads_hit_and_a_node_away_costs_its_keys_alone() {
    let cluster = blocking(|| RedisCluster::start().unwrap()).await;
    let settings = [
        ("REDIS_URL", cluster.url()),
        ("REDIS_CLUSTER", "true".into()),
        ("REDIS_TIMEOUT", "500ms".into()),
        ("CACHE_TTL", "10min".into()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let system = System::start("redis-cluster", &settings).await;
    let worker = system.worker();
    let devices: Vec<String> = (0..24).map(|n| format!("device-{n}")).collect();
    let post_all = async |n: i64| {
        for device in &devices {
            assert_eq!(system.post(device, &n.to_string(), &json!({"n": n})).await.unwrap().status(), 202);
        }
    };
    let until_all_are = async |n: i64, hits: bool| {
        for device in &devices {
            let holds = async || {
                let (version, is_hit) = system.read(device).await;
                version == n && (!hits || is_hit)
            };
            system.until(&format!("{device} is at {n}"), holds).await;
        }
    };
    post_all(1).await;
    until_all_are(1, true).await;
    post_all(2).await;
    until_all_are(2, true).await;

    cluster.nodes[0].kill().unwrap();
    post_all(3).await;
    // Resources of the failed node come from PostgreSQL; the others were fenced, and are hits.
    until_all_are(3, false).await;
    let mut hits = 0;
    for device in &devices {
        let (version, is_hit) = system.read(device).await;
        assert_eq!(version, 3);
        hits += usize::from(is_hit);
    }
    assert!((1..devices.len()).contains(&hits), "{hits}");
    assert_eq!(worker.status().await, "ready");
    let says = json!({"status": "up", "warning": "a node of the cluster does not answer"});
    let said = async || system.api.public_ready().await.1["dependencies"]["redis"] == says;
    system.until("the API says so", said).await;

    // The log names the node as `docs/operations.md` describes.
    let node = format!("127.0.0.1:{}", cluster.nodes[0].port);
    let is_told = |line: &str| line.contains(r#""message":"Redis is away"#) && line.contains(&node);
    assert!(system.api.service.log().lines().any(is_told), "{}", system.api.service.log());

    cluster.nodes[0].start().unwrap();
    until_all_are(3, true).await;
    post_all(4).await;
    until_all_are(4, true).await;
    let sent: Vec<_> =
        devices.into_iter().map(|device| Sent { device, accepted: 4, refused: Default::default() }).collect();
    system.settle(&sent).await;
    worker.end().await;
}
