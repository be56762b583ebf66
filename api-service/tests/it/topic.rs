//! Reads what really is in a topic.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use shared::topic::Record;

use crate::app::{PARTITIONS, TestApp};

/// The first records of the input topic: so many, or fewer if no more come.
pub(crate) async fn records(app: &TestApp, count: usize) -> Vec<Record> {
    let (brokers, topic) = (app.scope.endpoints.kafka_brokers.clone(), app.scope.input_topic.clone());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "none").create().unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        let mut found = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while found.len() < count && Instant::now() < deadline {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                found.push(Record::of(message.unwrap()));
            }
        }
        found
    })
    .await
    .unwrap()
}
