//! Three nodes that answer for their slots, and nothing else.

use std::time::Instant;

use devstack::RedisCluster;
use redis::Commands as _;

#[test]
fn each_node_serves_its_slots_and_comes_back_empty() {
    let from = Instant::now();
    let cluster = RedisCluster::start().unwrap();
    println!("cluster: {:?}", from.elapsed());
    let pids: Vec<_> = cluster.nodes.iter().map(|node| node.pid().unwrap()).collect();
    // The slots of these keys are 15495, 3300 and 7365.
    let owners = [("a", 2), ("b", 0), ("c", 1)];
    let at = |node: usize| redis::Client::open(cluster.nodes[node].url()).unwrap().get_connection().unwrap();
    for (key, owner) in owners {
        let () = at(owner).set(key, key).unwrap();
        let elsewhere = at((owner + 1) % 3).get::<_, String>(key).unwrap_err();
        assert_eq!(elsewhere.code(), Some("MOVED"));
    }
    cluster.nodes[0].kill().unwrap();
    assert_eq!(at(2).get::<_, String>("a").unwrap(), "a", "the others go on");
    cluster.nodes[0].start().unwrap();
    cluster.until_ok().unwrap();
    assert_eq!(at(0).get::<_, Option<String>>("b").unwrap(), None);
    drop(cluster);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
