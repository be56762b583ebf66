//! Three brokers, so that a topic can have replicas and one broker can be down.

use std::thread::scope;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::Kafka;
use super::settings::Place;
use crate::dir::StackDir;
use crate::port;
use crate::process::asked;

/// The others know a broker at its first heartbeat; the rest is slack for a busy machine.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster. Dropping it stops its nodes and removes their data.
#[derive(Debug)]
pub struct KafkaCluster {
    /// The brokers 1, 2 and 3. The first is also the controller: without it no leader is elected and no
    /// replica leaves the ISR.
    pub nodes: Vec<Kafka>,
}

impl KafkaCluster {
    /// Starts three brokers on free ports; returns when each knows all three.
    pub fn start() -> anyhow::Result<KafkaCluster> {
        let dir = StackDir::create()?;
        let ports = [port::free(), port::free(), port::free()];
        let controller = port::free();
        let start = |id: usize, port: u16| {
            let path = dir.path().join(format!("kafka-{id}"));
            std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
            Kafka::start_as(&dir, &path, Place { id, port, controller }, None)
        };
        // In parallel: the others are not ready before the controller is.
        let nodes: anyhow::Result<Vec<Kafka>> = scope(|scope| {
            let start = &start;
            let starting: Vec<_> = (1..).zip(ports).map(|(id, port)| scope.spawn(move || start(id, port))).collect();
            let started = starting.into_iter().map(|node| node.join().ok().context("starting Kafka panicked")?);
            started.collect()
        });
        let cluster = KafkaCluster { nodes: nodes? };
        cluster.until_joined()?;
        Ok(cluster)
    }

    pub fn brokers(&self) -> String {
        self.nodes.iter().map(Kafka::brokers).collect::<Vec<_>>().join(",")
    }

    pub fn until_joined(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", node.brokers()).create()?;
            let joined = || {
                let metadata = client.fetch_metadata(None, Duration::from_secs(5));
                Ok(metadata.is_ok_and(|metadata| metadata.brokers().len() == self.nodes.len()).then_some(()))
            };
            asked(JOIN_TIMEOUT, Duration::from_millis(50), joined)?
                .with_context(|| format!("the Kafka cluster is not complete within {JOIN_TIMEOUT:?}"))?;
        }
        Ok(())
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        // Stop the controller last: without it the others take longer to stop.
        self.nodes.iter().rev().for_each(|node| node.dismiss());
    }
}
