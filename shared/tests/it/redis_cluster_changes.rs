//! Changes of a cluster: slots that move, and nodes that are down, restarted or late.

use crate::prelude::*;
use crate::redis_cluster::{ask, body, counts, kit, one_of_each, own_cluster, owner};

#[tokio::test]
async fn slots_that_move_are_followed() {
    let cluster = own_cluster().await;
    let kit = kit("cluster_moved", &cluster).await;
    let fencer = kit.fencer();
    let [device, ..] = one_of_each(&cluster, &kit).await;
    let (key, from, to) = (kit.key(device.as_str()), 0, 1);
    let slot: u16 = ask(&cluster, 0, &["CLUSTER", "KEYSLOT", &key]).await;
    let slot = slot.to_string();
    let ids: Vec<String> =
        vec![ask(&cluster, from, &["CLUSTER", "MYID"]).await, ask(&cluster, to, &["CLUSTER", "MYID"]).await];
    let version = async |n: i64| {
        let applied = kit.write(device.as_str(), n).await;
        assert!(fencer.fence(&applied.fences).await.is_acknowledged(), "acknowledged");
        applied.fences[0].1
    };
    let fill = || kit.fill(&kit.cache, &device);
    let cached = async || match kit.cache.get(&device.cache_key()).await {
        Lookup::Hit(body) => shared::cache::version(&body),
        Lookup::Miss => None,
        other => panic!("{other:?}"),
    };
    version(1).await;
    fill().await;

    // The slot is being moved; the key is still on the old node.
    let _: () = ask(&cluster, to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
    let _: () = ask(&cluster, from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]).await;
    version(2).await;
    assert!(cached().await.is_none_or(|cached| cached == 2), "replaced, or, on its way, deleted");
    // The key is on the new node already, but the slot is not: each command gets an ASK redirection.
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

    // The slot is moved too: one MOVED redirection.
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
    assert_eq!(kit.cache.get(&device.cache_key()).await, Lookup::Miss);
    let slot: u16 = ask(&cluster, 0, &["CLUSTER", "KEYSLOT", &kit.key(device.as_str())]).await;
    cluster.nodes[0].kill().unwrap();
    assert_eq!(kit.cache.get(&device.cache_key()).await, Lookup::Unavailable);
    let heir: String = ask(&cluster, 1, &["CLUSTER", "MYID"]).await;
    for number in [1, 2] {
        let _: () = ask(&cluster, number, &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &heir]).await;
    }
    eventually("it is found", async || kit.cache.get(&device.cache_key()).await == Lookup::Miss).await;
    let lease = kit.cache.lease(&device.cache_key()).await.unwrap();
    assert!(kit.cache.fill(&device.cache_key(), &lease, Some(&body(1, &device))).await);
}

/// If a node is frozen or killed, only its own keys are affected.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_costs_its_keys_alone() {
    let cluster = own_cluster().await;
    let kit = kit("cluster_away", &cluster).await;
    let fencer = kit.fencer();
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
        kit.apply(&events).await.fences
    };
    let fill = async || {
        for device in &devices {
            if let Some(lease) = kit.cache.lease(&device.cache_key()).await {
                let read = queries::resource(&kit.store, device).await.unwrap().unwrap();
                assert!(kit.cache.fill(&device.cache_key(), &lease, Some(&read.body)).await);
            }
        }
    };
    let version = |device| cached(&kit.cache, device);
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
        // Once the node is known to be away, its keys cause no delay, and the other keys' fences are sent.
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
                !matches!(kit.cache.get(&device.cache_key()).await, Lookup::Unavailable | Lookup::Leased(_))
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
    let fencer = kit.fencer();
    let [away, device, _] = one_of_each(&cluster, &kit).await;
    kit.write(device.as_str(), 1).await;
    let turn = async || {
        let lease = kit.cache.lease(&device.cache_key()).await.unwrap();
        kit.cache.release(&device.cache_key(), &lease).await;
        let lease = kit.cache.lease(&device.cache_key()).await.unwrap();
        assert!(kit.cache.fill(&device.cache_key(), &lease, None).await);
        assert!(fencer.fence(&[(device.clone().cache_key(), 1)]).await.is_acknowledged());
        assert!(matches!(kit.cache.get(&device.cache_key()).await, Lookup::Hit(body) if body != MISSING));
        kit.cache.erase(&device.cache_key()).await.unwrap();
        assert_eq!(kit.cache.get(&device.cache_key()).await, Lookup::Miss);
        let _: u64 = ask(&cluster, 1, &["DEL", &format!("{{{}}}forgotten", kit.key(device.as_str()))]).await;
    };
    turn().await;
    cluster.nodes[0].kill().unwrap();
    assert_eq!(kit.cache.get(&away.cache_key()).await, Lookup::Unavailable);
    let _: () = ask(&cluster, 1, &["SCRIPT", "FLUSH"]).await;
    turn().await;
    // A restart also loses the scripts, and everything else.
    cluster.nodes[1].kill().unwrap();
    cluster.nodes[0].start().unwrap();
    cluster.nodes[1].start().unwrap();
    cluster.until_ok().unwrap();
    eventually("it is reached again", async || kit.cache.get(&device.cache_key()).await == Lookup::Miss).await;
    turn().await;
}

#[tokio::test]
async fn a_cluster_that_comes_after_its_users_is_found() {
    let kit = Kit::without_schema("cluster_late").await;
    let cluster = own_cluster().await;
    for node in &cluster.nodes {
        node.kill().unwrap();
    }
    // No server ever listens on the first address.
    let urls = format!("redis://127.0.0.1:{},{}", devstack::port::free(), cluster.nodes[2].url());
    let cache = kit.cache_at(&urls);
    let started = std::time::Instant::now();
    for n in 0..1_000 {
        assert_eq!(cache.get(&id(&format!("d{n}")).cache_key()).await, Lookup::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    for node in &cluster.nodes {
        node.start().unwrap();
    }
    cluster.until_ok().unwrap();
    for device in one_of_each(&cluster, &kit).await {
        eventually("it is found", async || cache.get(&device.cache_key()).await == Lookup::Miss).await;
    }
}
