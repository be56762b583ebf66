//! A dead-letter topic that takes nothing: nothing is lost, and nothing is committed past it.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::kit::{Kit, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_not_acknowledged_holds_its_offset() {
    let kit = Kit::new("refusing", 1).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &kit.scope.endpoints.kafka_brokers).create().unwrap();
    admin.delete_topics(&[&kit.scope.dlq_topic], &AdminOptions::new()).await.unwrap();
    let worker = kit.worker();
    kit.event("a", "1", "{}").await;
    kit.put(Some(b"a"), Some(b"no event"), &[]).await;
    let deadline = Instant::now() + PATIENCE;
    while worker.health.report().1["status"] != "waiting out an outage" {
        assert!(Instant::now() < deadline, "{:?}", worker.health.report());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(kit.committed().await.get(&0).copied().unwrap_or(0) <= 1, "nothing is committed past the letter");

    let again = NewTopic::new(&kit.scope.dlq_topic, 1, TopicReplication::Fixed(1));
    admin.create_topics(&[again], &AdminOptions::new()).await.unwrap();
    assert_eq!(kit.dead_letters(1).await.len(), 1);
    kit.event("a", "2", "{}").await;
    kit.until("SELECT count(*) FROM events", 2).await;
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await[&0], 3);
}
