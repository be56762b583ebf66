//! The number of replicas of a topic. The topic's settings do not show it: with one replica and `min.insync.replicas=1`
//! every write succeeds, on one disk.

use std::collections::BTreeMap;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::metadata::MetadataBroker;
use serde_json::json;

use crate::kafka::{ADMIN_TIMEOUT, LogContext, PlainConsumer};

/// The name of the replica count in the list of faults, where other faults have a setting's name.
pub(super) const REPLICAS: &str = "replicas";

/// The brokers of each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Replicas {
    topic: String,
    brokers: Vec<i32>,
    partitions: BTreeMap<i32, Vec<i32>>,
}

impl Replicas {
    pub(super) async fn of(client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        // A consumer's metadata request does not create the topic.
        let consumer: PlainConsumer = client.create_with_context(LogContext).context("cannot create a Kafka client")?;
        let topic = topic.to_owned();
        let ask = move || {
            let metadata = consumer.fetch_metadata(Some(&topic), ADMIN_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let found = found.filter(|found| found.error().is_none() && !found.partitions().is_empty());
            let found = found.with_context(|| format!("Kafka does not return the partitions of the topic {topic}"))?;
            let partitions = found.partitions().iter().map(|found| (found.id(), found.replicas().to_vec())).collect();
            let mut brokers: Vec<_> = metadata.brokers().iter().map(MetadataBroker::id).collect();
            brokers.sort_unstable();
            Ok(Self { topic, brokers, partitions })
        };
        tokio::task::spawn_blocking(ask).await.map_err(crate::runtime::lifecycle::no_result)?
    }

    /// The smallest number of replicas of any partition.
    pub(super) fn fewest(&self) -> Option<usize> {
        self.partitions.values().map(Vec::len).min()
    }

    /// The input of `kafka-reassign-partitions.sh` that gives each partition `least` replicas, and one more if there
    /// are enough brokers, so that one may be down. `None` if there are fewer than `least` brokers.
    pub(super) fn reassignment(&self, least: usize) -> Option<String> {
        if self.brokers.len() < least {
            return None;
        }
        let wanted = self.brokers.len().min(least + 1);
        let few = self.partitions.iter().filter(|(_, replicas)| replicas.len() < least);
        let changed = few.map(|(partition, replicas)| {
            // Start at another broker for each partition, to spread the load.
            let others = self.brokers.iter().cycle().skip(usize::try_from(*partition).unwrap_or(0));
            let others = others.take(self.brokers.len()).filter(|broker| !replicas.contains(broker));
            let replicas: Vec<_> = replicas.iter().chain(others).take(wanted).collect();
            json!({"topic": self.topic, "partition": partition, "replicas": replicas})
        });
        Some(json!({"version": 1, "partitions": changed.collect::<Vec<_>>()}).to_string())
    }
}

/// The shell command for such a reassignment.
pub(super) fn command(reassignment: &str, brokers: &str) -> String {
    if reassignment.is_empty() {
        return "the cluster has too few brokers: add brokers first".to_owned();
    }
    format!(
        "echo '{reassignment}' > replicas.json && kafka-reassign-partitions.sh --bootstrap-server {brokers} \
         --reassignment-json-file replicas.json --execute"
    )
}

#[cfg(test)]
impl Replicas {
    pub(super) fn new(topic: &str, brokers: &[i32], partitions: &[&[i32]]) -> Self {
        let partitions = (0..).zip(partitions).map(|(partition, replicas)| (partition, replicas.to_vec())).collect();
        Self { topic: topic.to_owned(), brokers: brokers.to_vec(), partitions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_with_too_few_gets_more_and_keeps_those_it_has() {
        let replicas = Replicas::new("t", &[1, 2, 3], &[&[3], &[1, 2], &[1]]);
        assert_eq!(replicas.fewest(), Some(1));
        let changed: serde_json::Value = serde_json::from_str(&replicas.reassignment(2).unwrap()).unwrap();
        let expected = json!({"version": 1, "partitions": [
            {"topic": "t", "partition": 0, "replicas": [3, 1, 2]},
            {"topic": "t", "partition": 2, "replicas": [1, 3, 2]},
        ]});
        assert_eq!(changed, expected);
        let two = Replicas::new("t", &[1, 2], &[&[1]]).reassignment(2).unwrap();
        assert!(two.contains(r#""replicas":[1,2]"#), "{two}");
        assert_eq!(Replicas::new("t", &[1], &[&[1]]).reassignment(2), None);
        assert!(command("", "b:1").contains("too few brokers"));
    }
}
