//! Three brokers, so that a topic can have replicas, and one of them can be away.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::settings::Place;
use super::{Kafka, mocked};
use crate::container::{self, Container, Plan, engine};
use crate::dir::StackDir;
use crate::port;
use crate::server::Body as _;
use crate::servers::are_containers;

/// A broker is known to the others at its first heartbeat; the rest is for a busy machine.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster. Dropped, it ends its nodes and removes their data.
#[derive(Debug)]
pub struct KafkaCluster {
    /// The brokers 1, 2 and 3. The first is the controller, too: without it no leader is elected and no
    /// replica leaves the in-sync ones.
    pub nodes: Vec<Kafka>,
    // Last, so that they go last.
    _network: Option<Container>,
    dir: StackDir,
}

impl KafkaCluster {
    /// Starts three brokers on free ports; returns when each knows of all.
    ///
    /// # Errors
    /// They do not start, or there is no Apache Kafka to be had: the mock has no replicas.
    pub fn start() -> anyhow::Result<KafkaCluster> {
        if let Some(why) = mocked() {
            anyhow::bail!("a Kafka cluster has to be the real one: {why}");
        }
        let dir = StackDir::create()?;
        let path = dir.path();
        let ports = [port::free(), port::free(), port::free()];
        let controller = port::free();
        let is_apart = are_containers()? && !engine()?.on_host;
        let network = if is_apart { Some(network(path, &ports)?) } else { None };
        let start = |id: usize, port: u16| {
            let path = path.join(format!("kafka-{id}"));
            std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
            let place = Place { id, address: if is_apart { "" } else { "127.0.0.1" }, port, controller, own: None };
            match &network {
                Some(network) => Kafka::start_container(&path, port, place, None, Some(network.network()?)),
                None if are_containers()? => Kafka::start_container(&path, port, place, None, None),
                None => Kafka::start_process(&path, port, place, None),
            }
        };
        // Side by side: the others are not ready before the controller is.
        let nodes: anyhow::Result<Vec<Kafka>> = scope(|scope| {
            let start = &start;
            let starting: Vec<_> = (1..).zip(ports).map(|(id, port)| scope.spawn(move || start(id, port))).collect();
            let started = starting.into_iter().map(|node| node.join().ok().context("starting Kafka panicked")?);
            started.collect()
        });
        let cluster = KafkaCluster { nodes: nodes?, _network: network, dir };
        cluster.until_joined()?;
        Ok(cluster)
    }

    pub fn brokers(&self) -> String {
        self.nodes.iter().map(Kafka::brokers).collect::<Vec<_>>().join(",")
    }

    pub fn until_joined(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        for node in &self.nodes {
            let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", node.brokers()).create()?;
            let joined = || {
                let metadata = client.fetch_metadata(None, Duration::from_secs(5));
                metadata.is_ok_and(|metadata| metadata.brokers().len() == self.nodes.len())
            };
            while !joined() {
                ensure!(Instant::now() < deadline, "the Kafka cluster is not complete within {JOIN_TIMEOUT:?}");
                sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        // The controller goes last: without it the others would take their time.
        for node in self.nodes.iter().rev() {
            if self.dir.is_kept() {
                let _ = node.stop();
            } else {
                node.discard();
            }
        }
    }
}

/// A container that does nothing but have a network, as that of a Redis cluster.
fn network(dir: &std::path::Path, ports: &[u16]) -> anyhow::Result<Container> {
    let mut plan = Plan::of(container::KAFKA);
    plan.ports = ports.iter().map(|port| (*port, *port)).collect();
    plan.command = ["sleep", "infinity"].map(str::to_owned).to_vec();
    let container = Container::new(plan)?;
    container.start(&dir.join("network.log"))?;
    Ok(container)
}
