//! Bounded sets of ids on a cluster: each node has its own incarnation, and slots that move are not trusted.

use devstack::RedisCluster;
use shared::cache::Added;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::id_sets::Sets;
use crate::prelude::*;
use crate::redis_cluster::{ask, own_cluster, owner};

const EARLIER: OffsetDateTime = datetime!(2026-11-29 00:00 UTC);

/// The names of two sets of each node.
async fn two_of_each(cluster: &RedisCluster) -> [[String; 2]; 3] {
    let mut found = [const { Vec::new() }; 3];
    for n in 0.. {
        let name = format!("s{n}");
        found[owner(cluster, &format!("p:set:{name}")).await].push(name);
        if found.iter().all(|names| names.len() >= 2) {
            return found.map(|mut names| [names.swap_remove(0), names.swap_remove(0)]);
        }
    }
    unreachable!()
}

async fn sets(cluster: &RedisCluster) -> Sets {
    let mut sets = Sets::at(&cluster.url(), "p:");
    let mut nodes = 0;
    while nodes < 3 {
        nodes += sets.note(EARLIER).await;
    }
    sets
}

impl Sets {
    /// Adds these ids to sets of two.
    async fn all(&self, ids: &[(&str, &str)]) -> Vec<Added> {
        let ids: Vec<_> = ids.iter().map(|(set, id)| self.new_id(set, id, 2)).collect();
        self.sets.add(&ids).await
    }
}

#[tokio::test]
async fn sets_lie_on_every_node_and_a_node_forgets_its_own_alone() {
    use Added::{Full, New, There, Unsure};

    let cluster = own_cluster().await;
    let mut sets = sets(&cluster).await;
    let [[a, new_a], [b, new_b], [c, _]] = two_of_each(&cluster).await;
    let ids = [(&*a, "1"), (&b, "1"), (&a, "2"), (&c, "1"), (&a, "1"), (&a, "3"), (&b, "2")];
    assert_eq!(sets.all(&ids).await, [New, New, New, New, There, Full, New]);
    sets.sets.delete(&[a.clone(), b.clone(), c.clone()]).await.unwrap();
    assert_eq!(sets.all(&ids).await, [New, New, New, New, There, Full, New], "all of them began anew");

    let _cluster = blocking(move || {
        cluster.nodes[0].restart().unwrap();
        cluster.until_ok().unwrap();
        cluster
    })
    .await;
    let others = [(&*b, "1"), (&b, "3"), (&c, "2"), (&new_b, "1")];
    eventually("the others go on", async || sets.all(&others[..1]).await == [There]).await;
    assert_eq!(sets.all(&others).await, [There, Full, New, New]);
    assert_eq!(sets.all(&[(&a, "1"), (&new_a, "1")]).await, [Unsure, Unsure]);
    let mut new = 0;
    while new == 0 {
        new = sets.note(OffsetDateTime::now_utc()).await;
    }
    assert_eq!(new, 1);
    assert_eq!(sets.all(&[(&a, "1"), (&new_a, "1"), (&b, "1")]).await, [Added::Unknown(4), Added::Unknown(4), There]);
}

#[tokio::test]
async fn a_slot_that_moves_is_not_trusted_and_its_new_node_is_another_incarnation() {
    let cluster = own_cluster().await;
    let mut sets = sets(&cluster).await;
    let names = two_of_each(&cluster).await;
    let mut nodes = Vec::new();
    for node in 0..3 {
        let info: String = ask(&cluster, node, &["CLUSTER", "INFO"]).await;
        let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_my_epoch:")).unwrap();
        nodes.push((epoch.parse::<u32>().unwrap(), node, ask::<String>(&cluster, node, &["CLUSTER", "MYID"]).await));
    }
    nodes.sort();
    // A node that takes over a slot gets a new epoch, except the one that has the greatest.
    let [_, middle, greatest] = &nodes[..] else { unreachable!() };
    for (known, from, to) in [(3, middle, greatest), (5, greatest, middle)] {
        let (&(_, from, ref from_id), &(_, to, ref to_id)) = (from, to);
        let ([a, _], [b, _]) = (&names[from], &names[to]);
        let slot = ask::<u16>(&cluster, 0, &["CLUSTER", "KEYSLOT", &format!("p:set:{a}")]).await.to_string();
        let set_slot = async |node: usize, what: &[&str]| {
            let command = [&["CLUSTER", "SETSLOT", &slot], what].concat();
            ask::<String>(&cluster, node, &command).await
        };
        set_slot(to, &["IMPORTING", from_id]).await;
        set_slot(from, &["MIGRATING", to_id]).await;
        // It is absent on both; the first one may have forgotten it.
        assert_eq!(sets.all(&[(a, "1")]).await, [Added::Unsure]);
        for node in [to, from] {
            set_slot(node, &["NODE", to_id]).await;
        }
        assert_eq!(sets.all(&[(a, "1"), (b, "1")]).await, [Added::Unsure, Added::Unsure]);
        let mut new = 0;
        while new < 2 {
            new += sets.note(OffsetDateTime::now_utc()).await;
        }
        for answer in sets.all(&[(a, "1"), (b, "1")]).await {
            assert!(matches!(answer, Added::Unknown(serial) if serial > known), "{answer:?}");
        }
    }
}
