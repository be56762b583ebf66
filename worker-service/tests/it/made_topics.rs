//! What `setup` makes, with its own defaults, as the brokers tell of it.

use devstack::KafkaCluster;
use devstack::kit::until;
use rdkafka::admin::{AdminClient, AlterConfig, ConfigSource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::prelude::*;

/// What the promises rest on.
const BOTH: [(&str, &str); 5] = [
    ("cleanup.policy", "delete"),
    ("min.insync.replicas", "2"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "uncompressed"),
];
/// A week; a record of 1 MiB.
const INPUT: [(&str, &str); 3] =
    [("retention.ms", "604800000"), ("retention.bytes", "-1"), ("max.message.bytes", "1048576")];
/// For ever; with room for the headers of a dead letter.
const DEAD_LETTERS: [(&str, &str); 3] =
    [("retention.ms", "-1"), ("retention.bytes", "-1"), ("max.message.bytes", "1114112")];

/// What a topic has without being told.
const DEFAULTS: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

#[tokio::test(flavor = "multi_thread")]
async fn both_topics_are_made_with_every_setting_that_the_promises_need() {
    let (cluster, mut scope) =
        tokio::task::block_in_place(|| (KafkaCluster::start().unwrap(), devstack::Scope::new("made_topics").unwrap()));
    scope.endpoints.kafka_brokers = cluster.brokers();
    let mut setup = std::process::Command::new(env!("CARGO_BIN_EXE_worker-service"));
    // Without the settings for a Kafka of one node.
    setup.arg("setup").envs(scope.env().into_iter().filter(|(name, _)| !name.starts_with("TOPIC_")));
    for _ in 0..2 {
        let output = tokio::task::block_in_place(|| setup.output().unwrap());
        assert!(output.status.success(), "safe to repeat: {}", String::from_utf8_lossy(&output.stderr));
    }

    let consumer: BaseConsumer = client(&scope).create().unwrap();
    let admin: AdminClient<DefaultClientContext> = client(&scope).create().unwrap();
    let asked = async |topic: &str| {
        let asked = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
        asked.unwrap().remove(0).unwrap()
    };
    for (topic, of_its_own) in [(&scope.input_topic, INPUT), (&scope.dlq_topic, DEAD_LETTERS)] {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let replicas: Vec<_> =
            metadata.topics()[0].partitions().iter().map(|partition| partition.replicas().len()).collect();
        assert_eq!(replicas, [3; 6], "{topic}");
        let described = asked(topic).await;
        let expected: BTreeMap<_, _> = BOTH.into_iter().chain(of_its_own).collect();
        let value = |name: &str| described.get(name).and_then(|entry| entry.value.as_deref()).unwrap();
        let found: BTreeMap<_, _> = expected.keys().map(|name| (*name, value(name))).collect();
        assert_eq!(found, expected, "{topic}");
        for entry in &described.entries {
            let is_ours = entry.source == ConfigSource::DynamicTopic;
            assert!(!is_ours || expected.contains_key(entry.name.as_str()), "{topic}: nobody asked for {entry:?}");
            // Clusters with a policy refuse such a setting, whatever its value.
            let is_default = DEFAULTS.contains(&(entry.name.as_str(), entry.value.as_deref().unwrap_or_default()));
            assert!(!is_ours || !is_default, "{topic}: it is a default already: {entry:?}");
        }
    }

    // Where the defaults of one broker are others, what has to be said is said.
    let change = AlterConfig::new(ResourceSpecifier::Broker(2))
        .set("unclean.leader.election.enable", "true")
        .set("log.cleanup.policy", "compact");
    admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let told = async || {
        let asked = admin.describe_configs([&ResourceSpecifier::Broker(2)], &AdminOptions::new()).await;
        let told = asked.unwrap().remove(0).unwrap();
        told.get("log.cleanup.policy").and_then(|entry| entry.value.clone()).as_deref() == Some("compact")
    };
    until("the topic is compacted", told).await;
    scope.input_topic.push_str("-2");
    scope.dlq_topic.push_str("-2");
    let mut setup = std::process::Command::new(env!("CARGO_BIN_EXE_worker-service"));
    setup.arg("setup").envs(scope.env().into_iter().filter(|(name, _)| !name.starts_with("TOPIC_")));
    let output = tokio::task::block_in_place(|| setup.output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let described = asked(&scope.input_topic).await;
    for (name, value) in [("unclean.leader.election.enable", "false"), ("cleanup.policy", "delete")] {
        let entry = described.get(name).unwrap();
        assert_eq!((entry.value.as_deref(), &entry.source), (Some(value), &ConfigSource::DynamicTopic), "{name}");
    }
}
