//! A Redis cluster of three primaries, each with a third of the slots, without replicas.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::dir::StackDir;
use crate::process::asked;
use crate::redis::ask;
use crate::{Redis, port};

const NODES: [Range<u16>; 3] = [0..5461, 5461..10923, 10923..16384];
/// A node waits two seconds before it considers its cluster usable; the rest is slack for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster. Dropping it stops its nodes and removes their data.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes, in the order of their slots. A restarted node keeps its identity and slots, and loses its
    /// data.
    pub nodes: [Redis; 3],
}

impl RedisCluster {
    /// Starts three nodes on free ports; returns when each accepts commands for its slots.
    pub fn start() -> anyhow::Result<RedisCluster> {
        let dir = StackDir::create()?;
        let node = |number: usize| -> anyhow::Result<(Redis, u16)> {
            let path = dir.path().join(format!("redis-{number}"));
            fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
            let (port, bus) = (port::free(), port::free());
            let more = [
                ("--cluster-enabled", "yes"),
                ("--cluster-config-file", "nodes.conf"),
                ("--cluster-node-timeout", "5000"),
                // While a node is down, the others still serve their slots.
                ("--cluster-require-full-coverage", "no"),
                ("--cluster-port", &bus.to_string()),
                ("--cluster-announce-ip", "127.0.0.1"),
            ];
            let more = more.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
            Ok((Redis::start_with(&dir, &path, port, more)?, bus))
        };
        let (first, second, third) = (node(0)?, node(1)?, node(2)?);
        let buses = [first.1, second.1, third.1];
        let cluster = RedisCluster { nodes: [first.0, second.0, third.0] };
        let first = cluster.nodes[0].port;
        for ((node, bus), slots) in cluster.nodes.iter().zip(buses).zip(NODES) {
            tell(node.port, &format!("CLUSTER ADDSLOTSRANGE {} {}", slots.start, slots.end - 1))?;
            if node.port != first {
                tell(first, &format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port))?;
            }
        }
        cluster.until_ok()?;
        Ok(cluster)
    }

    /// The nodes' addresses in the form of the services' setting.
    pub fn url(&self) -> String {
        self.nodes.each_ref().map(Redis::url).join(",")
    }

    /// Waits until every node knows the owner of every slot and accepts commands.
    pub fn until_ok(&self) -> anyhow::Result<()> {
        let ok = |node: &Redis| {
            ask(node.port, "CLUSTER INFO").is_ok_and(|info| {
                ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"]
                    .iter()
                    .all(|line| info.lines().any(|found| found == *line))
            })
        };
        asked(TIMEOUT, Duration::from_millis(50), || Ok(self.nodes.iter().all(ok).then_some(())))?
            .with_context(|| format!("the Redis cluster is not well within {TIMEOUT:?}"))
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|node| node.dismiss());
    }
}

fn tell(port: u16, command: &str) -> anyhow::Result<()> {
    let answer = ask(port, command).with_context(|| format!("{command}: no answer"))?;
    ensure!(answer == "+OK\r\n", "{command}: {answer}");
    Ok(())
}
